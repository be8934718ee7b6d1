//! Markdown blocks on their way to readers: streamed, resumed, in snapshots, in the history.

use crate::support::{
    app::{Account, TestApp, Turn, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
};
use continuo::markdown::Rendered;
use serde_json::{Value, json};

const ANSWER: [&str; 8] = [
    "# Hi\n",
    "\nSome *wor",
    "ds* and [a].\n\n- one\n- two",
    "\n\n```rust\nfn main() {}\n",
    "\n// on\n```\n\n",
    "| a |\n|---|\n| b |\n",
    "\n[a]: https://a.example\n\n",
    "The **end",
];

/// A reader who keeps blocks: what it has is the text, and the blocks of it.
#[derive(Debug, Clone, Default, PartialEq)]
struct BlockReader {
    position: u64,
    text: String,
    blocks: Vec<Value>,
    tail: String,
    done: Option<Value>,
}

impl BlockReader {
    /// As a message reads in the history.
    fn of(message: &Value, position: u64) -> Self {
        Self {
            position,
            text: message["content"].as_str().expect("text").to_owned(),
            blocks: message["blocks"].as_array().expect("blocks").clone(),
            tail: message["tail"].as_str().expect("a tail").to_owned(),
            done: None,
        }
    }

    fn take(&mut self, event: &str, id: Option<u64>, data: &Value) {
        self.position = id.unwrap_or(self.position);
        let text = |name: &str| data[name].as_str().expect("text").to_owned();
        match event {
            "delta" => {
                self.text.push_str(&text("text"));
                self.tail.push_str(&text("text"));
            }
            "block" => {
                let index =
                    usize::try_from(data["index"].as_u64().expect("an index")).expect("few");
                assert!(index <= self.blocks.len(), "a hole: {data}");
                self.blocks.truncate(index);
                self.blocks
                    .extend(data["nodes"].as_array().expect("nodes").clone());
                self.tail = text("tail");
                assert!(self.text.ends_with(&self.tail), "{data}");
            }
            "gap" => {
                *self = Self {
                    position: self.position,
                    ..Self::default()
                }
            }
            "snapshot" => {
                self.text = text("text");
                self.tail = text("tail");
                self.blocks
                    .clone_from(data["blocks"].as_array().expect("blocks"));
            }
            "done" => self.done = Some(data.clone()),
            _ => {}
        }
    }

    async fn read_to_end(&mut self, events: &mut Events) {
        while let Some(frame) = events.next().await {
            let event = frame.event.as_deref().expect("a name");
            self.take(event, frame.id, frame.data.as_ref().expect("data"));
        }
    }

    /// It ends with the blocks of this text, all of it.
    fn assert_has(&self, text: &str) {
        assert!(self.done.is_some());
        assert_eq!(self.text, text);
        assert_eq!(json!(self.blocks), blocks(text));
        assert_eq!(self.tail, "");
    }
}

fn blocks(text: &str) -> Value {
    json!(Rendered::whole(text).blocks)
}

async fn in_blocks(account: &Account, turn: &Turn) -> (Value, Value) {
    let path = format!("/api/conversations/{}?blocks=1", turn.conversation);
    let read = account.get_json(&path).await;
    let messages = read["messages"].as_array().expect("messages").clone();
    let answer = messages
        .into_iter()
        .find(|message| message["id"] == turn.message.as_str());
    (answer.expect("the answer"), read["generation"].clone())
}

async fn assert_stored(account: &Account, turn: &Turn, text: &str) {
    let (answer, generation) = in_blocks(account, turn).await;
    assert_eq!(generation, Value::Null);
    assert_eq!(answer["content"], text);
    assert_eq!(
        (&answer["blocks"], &answer["tail"]),
        (&blocks(text), &json!(""))
    );
}

async fn read_from(app: &TestApp, turn: &Turn, reader: &mut BlockReader) {
    let mut events = app.owner.events(turn, reader.position).await;
    reader.read_to_end(&mut events).await;
}

/// An answer in these pieces, each seen by a reader before the next is sent.
async fn answered_slowly(app: &TestApp) -> Turn {
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut seen = Reader::default();
    for piece in ANSWER {
        let bytes = seen.text.len() + piece.len();
        call.send(piece).await;
        events.read_until(&mut seen, bytes).await;
    }
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut seen).await;
    turn
}

#[tokio::test]
async fn blocks_come_as_they_are_finished_and_all_before_the_end() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    call.send("# Hi\n\nthe").await;
    events.expect("delta").await;
    let block = events.expect("block").await;
    assert_eq!(block.id, Some(3));
    let heading = json!({"index": 0, "nodes": [["h1", {}, "Hi"]], "tail": "the"});
    assert_eq!(block.data, Some(heading));
    call.send("re").await;
    call.finish("stop").await;
    call.done().await;
    events.expect("delta").await;
    let last = json!({"index": 1, "nodes": [["p", {}, "there"]], "tail": ""});
    assert_eq!(events.expect("block").await.data, Some(last));
    assert_eq!(events.expect("done").await.id, Some(6));
    app.end().await;
}

#[tokio::test]
async fn from_every_position_a_reader_gets_the_same_blocks() {
    let app = spawn_app_with(&[("log.retain_seconds", "0"), ("log.retain_bytes", "0")]).await;
    let turn = answered_slowly(&app).await;
    let text = ANSWER.concat();
    app.nothing_in_memory().await;
    let mut all = BlockReader::default();
    let mut at = vec![all.clone()];
    let mut events = app.owner.events(&turn, 0).await;
    let mut names = Vec::new();
    while let Some(frame) = events.next().await {
        let event = frame.event.expect("a name");
        all.take(&event, frame.id, &frame.data.expect("data"));
        at.push(all.clone());
        names.push(event);
    }
    all.assert_has(&text);
    assert!(
        names.iter().filter(|name| *name == "block").count() > 3,
        "{names:?}"
    );
    at.pop();
    for mut reader in at {
        read_from(&app, &turn, &mut reader).await;
        reader.assert_has(&text);
    }
    // One whose position is not there, and one whose events are forgotten.
    let mut lost = BlockReader {
        position: 1000,
        ..BlockReader::default()
    };
    read_from(&app, &turn, &mut lost).await;
    lost.assert_has(&text);
    let later = continuo::model::now() + std::time::Duration::from_secs(1);
    app.chat
        .store
        .forget_events(later)
        .await
        .expect("the store writes");
    let mut late = BlockReader::default();
    read_from(&app, &turn, &mut late).await;
    late.assert_has(&text);
    assert_stored(&app.owner, &turn, &text).await;
    app.end().await;
}

#[tokio::test]
async fn a_snapshot_and_the_history_are_continued_exactly_in_every_moment() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut live = app.owner.events(&turn, 0).await;
    let mut seen = Reader::default();
    let mut joined = Vec::new();
    for piece in ANSWER {
        let bytes = seen.text.len() + piece.len();
        call.send(piece).await;
        live.read_until(&mut seen, bytes).await;
        let (answer, generation) = in_blocks(&app.owner, &turn).await;
        let reader = BlockReader::of(&answer, generation["seq"].as_u64().expect("a position"));
        let events = app.owner.events(&turn, reader.position).await;
        joined.push((reader, events));
        let nowhere = BlockReader {
            position: 5000,
            ..BlockReader::default()
        };
        joined.push((nowhere, app.owner.events(&turn, 5000).await));
    }
    call.finish("stop").await;
    call.done().await;
    let text = ANSWER.concat();
    for (mut reader, mut events) in joined {
        reader.read_to_end(&mut events).await;
        reader.assert_has(&text);
    }
    drop(live);
    assert_stored(&app.owner, &turn, &text).await;
    app.end().await;
}

#[tokio::test]
async fn without_being_asked_the_history_has_no_blocks() {
    let app = spawn_app().await;
    let turn = app
        .answered(&app.owner.conversation().await, "*hello*", &["**Hi**"])
        .await;
    for query in ["", "?blocks=0"] {
        let path = format!("/api/conversations/{}{query}", turn.conversation);
        let read = app.owner.get_json(&path).await;
        assert_eq!(read["messages"][1].get("blocks"), None);
    }
    let path = format!("/api/conversations/{}?blocks=1", turn.conversation);
    let plain = app.owner.read(&turn.conversation).await;
    let mut read = app.owner.get_json(&path).await;
    for (at, node) in [
        (0, json!(["p", {}, ["em", {}, "hello"]])),
        (1, json!(["p", {}, ["strong", {}, "Hi"]])),
    ] {
        let message = read["messages"][at].as_object_mut().expect("a message");
        assert_eq!(message.remove("blocks"), Some(json!([node])));
        assert_eq!(message.remove("tail"), Some(json!("")));
    }
    assert_eq!(read, plain, "nothing else differs");
    let refused = send(app.owner.get(&format!("{path}x"))).await;
    assert_eq!(refused.status(), 400);
    app.end().await;
}

#[tokio::test]
async fn a_stop_within_a_fence_closes_it_and_carrying_on_opens_it_again() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    let before = "Look:\n\n```rust\nfn a() {}\n\nfn b";
    call.send(before).await;
    events
        .read_until(&mut Reader::default(), before.len())
        .await;
    app.owner.stop(&turn).await;
    drop(events);
    let mut stopped = BlockReader::default();
    read_from(&app, &turn, &mut stopped).await;
    stopped.assert_has(before);
    assert_eq!(
        stopped.blocks[1],
        json!(["pre", {"language": "rust"}, ["code", {}, "fn a() {}\n\nfn b"]])
    );
    assert_stored(&app.owner, &turn, before).await;

    let response = send(
        app.owner
            .post(&format!("/api/messages/{}/continue", turn.message)),
    )
    .await;
    let next = Turn::started(&turn.conversation, response).await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut events = app.owner.events(&next, 0).await;
    events.expect("started").await;
    let snapshot = events.expect("snapshot").await.data.expect("data");
    assert_eq!(snapshot["blocks"], json!([["p", {}, "Look:"]]));
    assert_eq!(snapshot["tail"], "```rust\nfn a() {}\n\nfn b");
    let (answer, _) = in_blocks(&app.owner, &next).await;
    assert_eq!(
        (&answer["blocks"], &answer["tail"]),
        (&snapshot["blocks"], &snapshot["tail"])
    );
    call.send("() {}\n```\n\nDone.").await;
    call.finish("stop").await;
    call.done().await;
    drop(events);
    let text = format!("{before}() {{}}\n```\n\nDone.");
    // The fence that was open is the next block, after the one that was finished; nothing is told again.
    let mut events = app.owner.events(&next, 0).await;
    let mut told = Vec::new();
    while let Some(frame) = events.next().await {
        if frame.event.as_deref() == Some("block") {
            let block = frame.data.expect("data");
            told.push((block["index"].clone(), block["nodes"][0][0].clone()));
        }
    }
    assert_eq!(told, [(json!(1), json!("pre")), (json!(2), json!("p"))]);
    let mut reader = BlockReader::default();
    read_from(&app, &next, &mut reader).await;
    reader.assert_has(&text);
    assert_eq!(reader.blocks.len(), 3);
    assert_stored(&app.owner, &next, &text).await;
    app.end().await;
}

#[tokio::test]
async fn only_text_has_blocks_thinking_has_none() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send_reasoning("# hm\n\nso\n\n").await;
    call.finish("stop").await;
    call.done().await;
    let mut reader = BlockReader::default();
    read_from(&app, &turn, &mut reader).await;
    reader.assert_has("");
    assert_eq!(reader.position, 3, "started, reasoning, done");
    app.end().await;
}

/// A text that may fill its log with text alone loses no word to its blocks, and they are told with the end.
#[tokio::test]
async fn a_log_without_room_for_blocks_keeps_the_text_and_tells_them_at_the_end() {
    let app = spawn_app_with(&[("log.bytes", "2000")]).await;
    let text = format!("{}\n\nend", "word ".repeat(250));
    let turn = app
        .answered(&app.owner.conversation().await, "hello", &[&text])
        .await;
    let mut reader = BlockReader::default();
    read_from(&app, &turn, &mut reader).await;
    reader.assert_has(&text);
    assert_eq!(reader.done.expect("done")["outcome"], "completed");
    app.end().await;
}

#[tokio::test]
async fn two_hundred_kilobytes_at_once_are_one_or_two_block_events() {
    let app = spawn_app().await;
    let code = "let x = 1;\n\n".repeat(16_000);
    let text = format!("So:\n\n```js\n{code}```\n\nThat is all.");
    let turn = app
        .answered(&app.owner.conversation().await, "hello", &[&text])
        .await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = BlockReader::default();
    let mut told = 0;
    while let Some(frame) = events.next().await {
        let (event, data) = (frame.event.expect("a name"), frame.data.expect("data"));
        told += if event == "block" {
            data.to_string().len()
        } else {
            0
        };
        reader.take(&event, frame.id, &data);
    }
    reader.assert_has(&text);
    assert!(told < 2 * text.len(), "{told}");
    app.end().await;
}
