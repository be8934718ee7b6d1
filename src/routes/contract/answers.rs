//! Asking, answers, the feed, and models.

use super::{
    accounts::{AT, ID},
    events,
    op::{Op, Schemas, text},
};
use crate::{
    chat::Started,
    model::{GenerationRecord, MessageId},
    routes::{generations::Polled, messages::Asked, models::Models},
};
use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, schema::Type},
};

const AHEAD: &str = "Server-sent events: `event`, `id`, `data`; `x-events` has the schema of each event's data. `started` first, the terminal \
    `done` last; `gap` (without an id) says to throw away what was assembled, the `snapshot` behind it is the whole message so far. \
    `ping` is a heartbeat without an id. A refusal that passes is a 200 with `unavailable` in it, because to a browser's `EventSource` \
    any other status is final.";

fn delta() -> Value {
    json!({ "id": "2", "event": "delta", "data": "{\"text\":\"Hello\"}" })
}

/// What is asked.
struct Question;

impl PartialSchema for Question {
    fn schema() -> RefOr<Schema> {
        let said = text().min_length(Some(1)).pattern(Some(r"\S"));
        let parent = OneOfBuilder::new()
            .item(Ref::from_schema_name(MessageId::name()))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .description(Some(
                "Absent: below the conversation's head. `null`: a new beginning.",
            ));
        let question = ObjectBuilder::new()
            .property("content", said)
            .property("parent_id", parent)
            .required("content");
        let asked = Ref::from_schema_name(Asked::name());
        AllOfBuilder::new().item(asked).item(question).into()
    }
}

impl ToSchema for Question {
    fn schemas(schemas: &mut Schemas) {
        Asked::schemas(schemas);
        schemas.push((Asked::name().into_owned(), Asked::schema()));
        schemas.push((MessageId::name().into_owned(), MessageId::schema()));
    }
}

pub fn prompt() -> Op {
    let example = json!({ "user_message_id": ID, "message_id": ID, "generation_id": ID });
    starting::<Question>(
        Op::user("ask", "Ask: store a message and start an answer to it"),
        example,
        json!({ "content": "How long does bread take?" }),
        true,
    )
    .refuses(413, "`message-too-large`")
}

pub fn regenerate() -> Op {
    let example = json!({ "message_id": ID, "generation_id": ID });
    starting::<Asked>(
        Op::user("regenerate", "Another answer beside this one"),
        example,
        json!({ "model": "demo" }),
        false,
    )
}

pub fn carry_on() -> Op {
    let example = json!({ "message_id": ID, "generation_id": ID });
    starting::<Asked>(
        Op::user(
            "continue",
            "Carry on an answer that was interrupted, stopped or cut short",
        ),
        example,
        json!({}),
        false,
    )
    .refuses(409, "`answer-complete`, `ends-in-tool-calls`")
}

fn starting<T: ToSchema>(op: Op, ids: Value, body: Value, needs_body: bool) -> Op {
    op.says("With `Accept: text/event-stream` the stream itself, else the ids.")
        .once()
        .session()
        .body::<T>(needs_body, body)
        .gives::<Started>(202, "Started.", ids)
        .with(202, "Location", "The generation.")
        .streams(200, AHEAD, events::of_generations(), delta())
        .uses(events::schemas())
        .with(200, "Location", "The generation.")
        .refuses(404, "`not-found`")
        .refuses(409, "`still-streaming`")
        .refuses(429, "`token-limit-exceeded`")
        .refuses(503, "`draining`, `node-full`, `spool-full`")
}

pub(super) fn generation() -> Value {
    json!({
        "id": ID, "conversation_id": ID, "message_id": ID, "status": "completed", "seq": 42, "model": "demo", "finish_reason": "stop",
        "usage": { "prompt_tokens": 7, "completion_tokens": 40 }, "timings": { "first_token_ms": 210, "total_ms": 1800 },
        "created_at": AT,
    })
}

pub fn generation_read() -> Op {
    Op::user("readGeneration", "How far an answer is, or how it ended").gives::<GenerationRecord>(
        200,
        "It.",
        generation(),
    )
}

pub fn stop() -> Op {
    Op::user("stopGeneration", "Stop it; the same when repeated")
        .gives::<GenerationRecord>(200, "Once its end is stored.", generation())
        .refuses(503, "`runs-elsewhere`")
}

pub fn events() -> Op {
    let polled = json!({ "events": [{ "seq": 2, "event": "delta", "data": { "text": "Hello" } }], "next": 2, "closed": false });
    Op::user("readEvents", "Follow an answer from any position")
        .says("With `Accept: application/json` a long poll.")
        .resumes()
        .streams(200, AHEAD, events::of_generations(), delta())
        .gives::<Polled>(200, AHEAD, polled)
        .uses(events::schemas())
        .refuses(406, "`not-acceptable`")
        .refuses(409, "`has-no-events`")
        .refuses(
            503,
            "`runs-elsewhere`, `node-full`, `draining` (of a long poll)",
        )
}

pub fn feed() -> Op {
    let example =
        json!({ "id": "3fa9-1", "event": "snapshot", "data": "{\"running\":[],\"sessions\":1}" });
    Op::user("followFeed", "What happens to your conversations, in every tab")
        .header("Last-Event-ID", "The id of the last event you have of this feed.", text().pattern(Some("^([0-9a-f]{16}-[0-9]+)?$")))
        .session()
        .streams(
            200,
            "Server-sent events with ids `<boot>-<n>`; `x-events` has the schema of each event's data. It begins with `snapshot`; \
            after a `gap` and its `snapshot`, list the conversations again.",
            events::of_feeds(),
            example,
        )
        .uses(events::schemas())
        .refuses(406, "`not-acceptable`")
}

pub fn models() -> Op {
    Op::user(
        "listModels",
        "What the model server lists, or why there is no list",
    )
    .gives::<Models>(
        200,
        "In any case.",
        json!({ "items": [{ "id": "demo" }], "default": "demo" }),
    )
}
