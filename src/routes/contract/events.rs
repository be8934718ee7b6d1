//! The data of the events, by their names.

use super::op::Schemas;
use crate::{event::Event, feed::FeedEvent};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

type Named = Vec<(&'static str, RefOr<Schema>)>;

/// In the order of [`Event`].
const EVENTS: [&str; 11] = [
    "started",
    "delta",
    "reasoning",
    "tool_calls",
    "block",
    "usage",
    "done",
    "gap",
    "snapshot",
    "ping",
    "unavailable",
];

/// In the order of [`FeedEvent`].
const FEED_EVENTS: [&str; 6] = [
    "snapshot",
    "gap",
    "conversation",
    "deleted",
    "generation",
    "presence",
];

pub(super) fn of_generations() -> Named {
    named::<Event>(&EVENTS)
}

/// A feed's own, and those of any stream.
pub(super) fn of_feeds() -> Named {
    let mut events = named::<FeedEvent>(&FEED_EVENTS);
    let shared = ["ping", "unavailable"];
    events.extend(
        of_generations()
            .into_iter()
            .filter(|(name, _)| shared.contains(name)),
    );
    events
}

/// What these refer to.
pub(super) fn schemas() -> Schemas {
    let mut schemas = Vec::new();
    Event::schemas(&mut schemas);
    FeedEvent::schemas(&mut schemas);
    schemas
}

/// The variants, which an event's JSON does not name: its `event:` does.
fn named<T: ToSchema>(names: &[&'static str]) -> Named {
    let RefOr::T(Schema::OneOf(variants)) = T::schema() else {
        unreachable!("an enum is one of its variants");
    };
    assert_eq!(variants.items.len(), names.len(), "each has its name");
    names.iter().copied().zip(variants.items).collect()
}
