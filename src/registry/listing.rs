//! A page of the live emitters, as an operator asks for it.

use super::{Emitter, Reason, Registry};
use crate::model::{EmitterId, UserId};
use std::{collections::BTreeMap, sync::Arc};

/// Which live emitters to list, in which order.
#[derive(Debug, Clone, Default)]
pub struct EmitterFilter {
    pub user: Option<UserId>,
    pub session: Option<String>,
    pub sort: EmitterSort,
    pub descending: bool,
    pub skip: usize,
    pub limit: usize,
}

impl EmitterFilter {
    fn matches(&self, emitter: &Emitter) -> bool {
        self.user
            .is_none_or(|user| emitter.client.standing.user == user)
            && self
                .session
                .as_deref()
                .is_none_or(|session| emitter.client.session.as_deref() == Some(session))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmitterSort {
    #[default]
    OpenedAt,
    User,
    Seq,
    Lag,
    Bytes,
}

impl EmitterSort {
    fn key(self, emitter: &Emitter) -> (u128, EmitterId) {
        let key = match self {
            Self::OpenedAt => 0,
            Self::User => emitter.client.standing.user.0.as_u128(),
            Self::Seq => emitter.seq().into(),
            Self::Lag => emitter.lag().into(),
            Self::Bytes => emitter.bytes().into(),
        };
        (key, emitter.id)
    }
}

#[derive(Debug)]
pub struct EmitterPage {
    pub items: Vec<Arc<Emitter>>,
    /// How many match.
    pub total: usize,
    pub live: usize,
    pub opened: u64,
    pub closed: BTreeMap<Reason, u64>,
}

impl Registry {
    /// A page of the live emitters, and the counts, of one moment: `opened = closed + live`.
    pub fn list_emitters(&self, filter: &EmitterFilter) -> EmitterPage {
        let emitters = self.emitters();
        let mut items: Vec<_> = emitters
            .live
            .values()
            .filter(|emitter| filter.matches(emitter))
            .cloned()
            .collect();
        let closed =
            Reason::ALL.map(|reason| (reason, emitters.closed.get(&reason).copied().unwrap_or(0)));
        let (opened, live) = (emitters.opened, emitters.live.len());
        drop(emitters);
        let total = items.len();
        items.sort_by_cached_key(|emitter| filter.sort.key(emitter));
        if filter.descending {
            items.reverse();
        }
        let items: Vec<_> = items
            .into_iter()
            .skip(filter.skip)
            .take(filter.limit)
            .collect();
        EmitterPage {
            items,
            total,
            live,
            opened,
            closed: closed.into(),
        }
    }
}
