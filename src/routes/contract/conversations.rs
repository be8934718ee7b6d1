//! Conversations.

use super::{
    accounts::{AT, ID},
    op::{Op, text},
};
use crate::{
    chat::{ConversationRead, ListedRead, MessageRead},
    routes::{
        Page,
        conversations::{Change, Create, ListParameters, Shown},
        export::{Exported, Format, Parameters},
        history::{MessageInBlocks, ReadParameters},
        import::Import,
    },
};
use serde_json::{Value, json};

const ETAG: &str = "Its `version`, for `If-Match`.";

fn conversation() -> Value {
    json!({
        "id": ID, "title": "Bread", "model": null, "system": null, "sampling": {}, "pinned": false, "archived": false,
        "version": 1, "head_id": ID, "created_at": AT, "updated_at": AT, "generation": null,
    })
}

fn message() -> Value {
    json!({
        "id": ID, "parent_id": null, "role": "user", "content": "How long does *bread* take?", "status": "completed", "created_at": AT,
    })
}

pub fn list() -> Op {
    let mut row = conversation();
    row["snippet"] = "… how long does bread take …".into();
    Op::user(
        "listConversations",
        "List, pinned ones first, or search: newest first",
    )
    .query::<ListParameters>()
    .of::<ListedRead>()
    .gives::<Page<ListedRead>>(
        200,
        "A page; `next` is the `cursor` of the one behind it.",
        json!({ "items": [row] }),
    )
    .refuses(422, "`invalid-value`")
}

pub fn create() -> Op {
    let mut example = conversation();
    example["head_id"] = Value::Null;
    example["messages"] = json!([]);
    Op::user("createConversation", "Begin a conversation")
        .once()
        .body::<Create>(
            false,
            json!({ "title": "Bread", "sampling": { "temperature": 0.2 } }),
        )
        .of::<MessageRead>()
        .gives::<ConversationRead>(201, "It is there.", example)
        .with(201, "Location", "The conversation.")
        .with(201, "ETag", ETAG)
}

pub fn import() -> Op {
    Op::user(
        "importConversation",
        "Import what an export gave, under new ids: whole or not at all",
    )
    .once()
    .body::<Import>(true, exported())
    .gives::<Shown>(201, "It is there.", conversation())
    .with(201, "Location", "The conversation.")
    .with(201, "ETag", ETAG)
    .refuses(413, "`too-many-messages`, `message-too-large`")
}

fn exported() -> Value {
    json!({
        "format": "continuo.conversation", "format_version": 1, "title": "Bread", "model": null, "system": null, "sampling": {},
        "head_id": ID, "created_at": AT, "updated_at": AT, "messages": [message()],
    })
}

pub fn read() -> Op {
    let mut example = conversation();
    let mut message = message();
    message["blocks"] = json!([["p", {}, "How long does ", ["em", {}, "bread"], " take?"]]);
    message["tail"] = "".into();
    example["messages"] = json!([message]);
    Op::user("readConversation", "Read it, whole or one branch")
        .says("While a generation runs, the text of its message and `generation.seq` are of one moment: attach behind `seq` and nothing \
            is missing or double. `leaf_id`, `earlier` and the `siblings` of messages come with `limit`, `blocks` and `tail` with `blocks=1`.")
        .query::<ReadParameters>()
        .of::<MessageInBlocks>()
.gives::<ConversationRead<MessageInBlocks>>(200, "Messages in the order of their creation.", example)
        .with(200, "ETag", ETAG)
        .refuses(422, "`invalid-value`")
}

pub fn change() -> Op {
    Op::user(
        "changeConversation",
        "Change what it is called, and how its answers are made",
    )
    .says("What is absent stays. `head_id` alone makes no new version.")
    .header(
        "If-Match",
        "The `ETag` of the version that is to be changed; else whichever it is.",
        text()
            .pattern(Some(r#"^(\*|(W/)?"?[0-9]{1,18}"?)$"#))
            .examples(["\"1\""]),
    )
    .body::<Change>(false, json!({ "title": "Sourdough", "pinned": true }))
    .gives::<Shown>(200, "As it is now.", conversation())
    .with(200, "ETag", ETAG)
    .refuses(412, "`version-mismatch`")
}

pub fn delete() -> Op {
    Op::user(
        "deleteConversation",
        "Delete it, once what runs in it has ended",
    )
    .gives_nothing(
        204,
        "Deleted; to be had back for `conversations.undo_seconds`.",
    )
}

pub fn restore() -> Op {
    Op::user("restoreConversation", "Take the deletion back")
        .gives::<Shown>(
            200,
            "As it stands, also when it was not deleted.",
            conversation(),
        )
        .with(200, "ETag", ETAG)
}

pub fn export() -> Op {
    Op::user(
        "exportConversation",
        "As a file: all of it as JSON, or the branch of its head as Markdown",
    )
    .query::<Parameters>()
    .of::<Format>()
    .gives::<Exported>(200, "The file.", exported())
    .gives_text(
        200,
        "The file.",
        "text/markdown",
        "# Bread\n\n## You\n\nHow long does *bread* take?\n",
    )
    .with(200, "Content-Disposition", "Its name.")
}
