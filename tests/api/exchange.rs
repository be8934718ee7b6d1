//! Conversations as files: exported, imported again, and files that are none of ours.

use super::conversations::{change, id, path};
use crate::support::{
    app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use reqwest::Response;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Instant};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const IMPORT: &str = "/api/conversations/import";

async fn exported(account: &Account, conversation: &str) -> Value {
    let path = format!("/api/conversations/{conversation}/export");
    account.get_json(&path).await
}

async fn import(account: &Account, file: &Value) -> Response {
    send(account.post(IMPORT).json(file)).await
}

async fn imported(account: &Account, file: &Value) -> Value {
    let response = import(account, file).await;
    let status = response.status();
    let location = response.headers().get("location").cloned();
    let etag = response.headers().get("etag").cloned();
    let made: Value = response.json().await.expect("JSON");
    assert_eq!(status, 201, "{made}");
    assert_eq!(location.expect("a location"), path(&made));
    assert_eq!(etag.expect("a tag"), "\"1\"");
    made
}

fn messages(file: &Value) -> &[Value] {
    file["messages"].as_array().expect("messages")
}

/// An export with numbers in place of the ids.
fn without_ids(file: &Value) -> Value {
    let mut file = file.clone();
    let messages = file["messages"].as_array_mut().expect("messages");
    let mut numbers = HashMap::new();
    for (n, message) in messages.iter_mut().enumerate() {
        numbers.insert(message["id"].take().to_string(), json!(n));
        message["id"] = json!(n);
        if !message["parent_id"].is_null() {
            message["parent_id"] = numbers[&message["parent_id"].to_string()].clone();
        }
    }
    if !file["head_id"].is_null() {
        file["head_id"] = numbers[&file["head_id"].to_string()].clone();
    }
    file
}

/// A small file of ours.
fn file() -> Value {
    json!({
        "format": "continuo.conversation",
        "format_version": 1,
        "title": "Bread",
        "model": null,
        "system": null,
        "sampling": {},
        "head_id": "b",
        "created_at": "2026-01-02T03:04:05.678Z",
        "updated_at": "2026-01-02T03:05:00Z",
        "messages": [
            {"id": "a", "parent_id": null, "role": "user", "content": "salt?", "status": "completed",
             "created_at": "2026-01-02T03:04:05.678Z"},
            {"id": "b", "parent_id": "a", "role": "assistant", "content": "Two percent", "status": "completed",
             "finish_reason": "stop", "created_at": "2026-01-02T03:04:06Z"},
        ],
    })
}

#[tokio::test]
async fn what_is_exported_and_imported_is_the_same_but_for_its_ids() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app
        .answered(
            &conversation,
            "  Grüße 你好 🙂\n\ttab",
            &["# Hi\n", "*there*"],
        )
        .await;
    let asked = app.owner.ask(&conversation, "tools?").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send_reasoning("let me think").await;
    call.send("Half").await;
    call.usage(3, 5).await;
    call.finish("length").await;
    call.done().await;
    app.owner.read_all(&asked).await;
    let regenerate = format!("/api/messages/{}/regenerate", first.message);
    let request = app.owner.post(&regenerate).json(&json!({"model": "other"}));
    let other = Turn::started(&conversation, send(request).await).await;
    app.upstream.next_call().await.answer(&["Other"]).await;
    app.owner.read_all(&other).await;
    let settings = json!({
        "title": "A/B \"c\"", "model": "m", "system": "Be brief.\n", "head_id": asked.message,
        "sampling": {"temperature": 0.1, "stop": ["x", "🙂"], "seed": -5},
    });
    let path = format!("/api/conversations/{conversation}");
    assert_eq!(
        change(&app.owner, &path, None, settings).await.status(),
        200
    );

    let file = exported(&app.owner, &conversation).await;
    let read = app.owner.read(&conversation).await;
    assert_eq!(file["format"], "continuo.conversation");
    assert_eq!(file["format_version"], 1);
    for name in [
        "title",
        "model",
        "system",
        "sampling",
        "head_id",
        "created_at",
        "updated_at",
    ] {
        assert_eq!(file[name], read[name], "{name}");
    }
    assert_eq!(messages(&file).len(), 5);
    for (told, kept) in messages(&file).iter().zip(messages(&read)) {
        let mut kept = kept.clone();
        let fields = kept.as_object_mut().expect("an object");
        fields.remove("generation_id");
        assert_eq!(told, &kept);
    }
    let stranger = app.stranger().await;
    for account in [&app.owner, &stranger] {
        let made = imported(account, &file).await;
        assert_ne!(id(&made), conversation);
        assert_eq!(
            (&made["version"], &made["generation"]),
            (&json!(1), &Value::Null)
        );
        assert_eq!(made["updated_at"], file["updated_at"]);
        let again = exported(account, id(&made)).await;
        assert_eq!(without_ids(&again), without_ids(&file));
        let old: Vec<_> = messages(&file).iter().map(id).collect();
        let mut new = messages(&again).iter().map(id);
        assert!(new.all(|id| !old.contains(&id)), "ids are made anew");
        let row = account.get_json("/api/conversations?q=grüße").await;
        assert!(
            row["items"]
                .as_array()
                .expect("rows")
                .iter()
                .any(|row| id(row) == id(&made))
        );
    }

    // What was cut short can be carried on, and the rest asked about, as in the original.
    let made = imported(&app.owner, &file).await;
    let head = made["head_id"].as_str().expect("a head");
    let carry_on = format!("/api/messages/{head}/continue");
    let turn = Turn::started(id(&made), send(app.owner.post(&carry_on)).await).await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["temperature"], 0.1);
    call.answer(&[" done"]).await;
    assert_eq!(app.owner.read_all(&turn).await.text, "Half done");
    app.answered(id(&made), "more", &["More"]).await;
    app.end().await;
}

/// Trees of any shape, texts of any characters, every status.
fn files() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            any::<String>(),
            "[a-z\n`# ]{0,40}",
            Just("\u{0}\\ud83d\u{202e}".to_owned())
        ]
    };
    let optional = || prop::option::of(text());
    let message = (
        any::<prop::sample::Index>(),
        any::<bool>(),
        text(),
        optional(),
        (optional(), optional()),
        prop::sample::select(vec![
            "completed",
            "stopped",
            "failed",
            "interrupted",
            "truncated",
            "streaming",
        ]),
        prop::option::of((any::<u32>(), any::<u32>(), any::<bool>())),
        0u64..1_700_000_000_000,
        prop::option::of(text()),
    );
    (
        prop::collection::vec(message, 0..12),
        any::<prop::sample::Index>(),
        (text(), optional(), optional()),
        prop::option::of(0.0..2.0f64),
        prop::collection::vec(text(), 0..3),
    )
        .prop_map(|(messages, head, (title, model, system), temperature, stop)| {
            let time = |millis: u64| {
                let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
                let format = &Rfc3339;
                json!(time.expect("in range").format(format).expect("a time"))
            };
            let count = messages.len();
            let messages = messages.into_iter().enumerate().map(|(n, message)| {
                let (parent, answers, content, reasoning, (model, reason), status, usage, at, call) = message;
                let parent = parent.index(n + 1);
                let mut json = json!({
                    "id": format!("m{n}"),
                    "parent_id": (parent < n).then(|| format!("m{parent}")),
                    "role": if answers { "assistant" } else { "user" },
                    "content": content,
                    "status": if answers { status } else { "completed" },
                    "created_at": time(at),
                });
                if answers {
                    json["reasoning"] = json!(reasoning);
                    json["model"] = json!(model);
                    json["finish_reason"] = json!(reason);
                    json["usage"] = json!(usage.map(|(prompt, completion, estimated)| json!(
                        {"prompt_tokens": prompt, "completion_tokens": completion, "estimated": estimated}
                    )));
                    json["timings"] = json!(usage.map(|(first, total, _)| json!({"first_token_ms": first, "total_ms": total})));
                    json["tool_calls"] = json!(call.map(|text| json!([{"function": {"arguments": text}, "id": "x"}])));
                }
                json
            });
            json!({
                "format": "continuo.conversation", "format_version": 1,
                "title": title.chars().take(400).collect::<String>(), "model": model, "system": system,
                "sampling": {"temperature": temperature, "stop": stop},
                "head_id": (count > 0).then(|| format!("m{}", head.index(count))),
                "created_at": time(1), "updated_at": time(1_600_000_000_123),
                "messages": messages.collect::<Vec<_>>(),
            })
        })
}

#[tokio::test]
async fn whatever_is_imported_is_exported_as_often_as_one_likes_without_a_change() {
    let app = spawn_app().await;
    let mut runner = TestRunner::default();
    for _ in 0..40 {
        let file = files().new_tree(&mut runner).expect("a file").current();
        let first = imported(&app.owner, &file).await;
        let first = exported(&app.owner, id(&first)).await;
        assert!(!first.to_string().contains("\\u0000"), "{first}");
        let sent = file["messages"].as_array().expect("messages");
        let kept = first["messages"].as_array().expect("messages");
        let (kept, added) = kept.split_at(sent.len());
        assert!(added.iter().all(is_unwritten), "{added:?}");
        for (sent, kept) in sent.iter().zip(kept) {
            let content = sent["content"]
                .as_str()
                .expect("text")
                .replace('\0', "\u{fffd}");
            assert_eq!(kept["content"], content);
            let status = sent["status"]
                .as_str()
                .expect("a word")
                .replace("streaming", "interrupted");
            assert_eq!(kept["status"], status);
        }
        let second = imported(&app.owner, &first).await;
        let second = exported(&app.owner, id(&second)).await;
        assert_eq!(without_ids(&second), without_ids(&first));
    }
    app.end().await;
}

/// An answer without a word.
fn is_unwritten(message: &Value) -> bool {
    message["role"] == "assistant" && message["status"] == "interrupted" && message["content"] == ""
}

#[tokio::test]
async fn an_imported_question_without_an_answer_can_be_answered_and_gone_on_from() {
    let app = spawn_app().await;
    let said = |id: &str, parent: Option<&str>, role: &str| {
        json!({"id": id, "parent_id": parent, "role": role, "content": id, "status": "completed",
            "created_at": "2026-01-31T12:00:00Z"})
    };
    let mut file = file();
    file["messages"] = json!([
        said("one", None, "user"),
        said("two", Some("one"), "assistant"),
        said("three", Some("two"), "user"),
        said("elsewhere", Some("two"), "user"),
    ]);
    file["head_id"] = json!("three");
    let made = imported(&app.owner, &file).await;
    let read = app.owner.read(id(&made)).await;
    let [_, _, three, elsewhere, below, below_elsewhere] = messages(&read) else {
        panic!("{read}");
    };
    assert!(is_unwritten(below) && is_unwritten(below_elsewhere));
    assert_eq!(below["parent_id"], three["id"]);
    assert_eq!(below_elsewhere["parent_id"], elsewhere["id"]);
    assert_eq!(read["head_id"], below["id"]);

    let again = format!("/api/messages/{}/regenerate", id(below));
    let turn = Turn::started(id(&made), send(app.owner.post(&again)).await).await;
    app.upstream.next_call().await.answer(&["Four"]).await;
    assert_eq!(app.owner.read_all(&turn).await.text, "Four");
    app.answered(id(&made), "five", &["Six"]).await;

    let made = imported(&app.owner, &file).await;
    app.answered(id(&made), "or go on", &["Yes"]).await;
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_is_being_written_is_exported_as_far_as_it_is_and_imported_as_interrupted() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    let file = exported(&app.owner, &turn.conversation).await;
    assert_eq!(
        (
            &file["messages"][1]["status"],
            &file["messages"][1]["content"]
        ),
        (&json!("streaming"), &json!("Hel"))
    );
    let made = imported(&app.owner, &file).await;
    let read = app.owner.read(id(&made)).await;
    assert_eq!(
        (
            &read["messages"][1]["status"],
            &read["messages"][1]["content"]
        ),
        (&json!("interrupted"), &json!("Hel"))
    );
    assert_eq!(read["generation"], Value::Null);
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    app.end().await;
}

#[tokio::test]
async fn markdown_has_the_branch_of_the_head_and_closes_what_was_left_open() {
    let app = spawn_app().await;
    let mut file = file();
    file["system"] = json!("Be brief.");
    let messages = file["messages"].as_array_mut().expect("messages");
    let message = |id: &str, parent: &str, role: &str, content: &str| {
        json!({"id": id, "parent_id": parent, "role": role, "content": content, "status": "completed",
            "reasoning": "secret thought", "model": if role == "user" { Value::Null } else { json!("llama \n 3") },
            "created_at": "2026-01-02T03:04:05Z"})
    };
    messages.push(message("c", "a", "assistant", "another answer"));
    messages.push(message("d", "b", "user", "code?\n\n"));
    messages.push(message("e", "d", "assistant", "Yes:\n```rust\nfn main"));
    messages.push(message("f", "e", "user", "thanks"));
    file["head_id"] = json!("f");
    let made = imported(&app.owner, &file).await;
    let export = format!("{}/export?format=markdown", path(&made));
    let response = send(app.owner.get(&export)).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/markdown; charset=utf-8");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"Bread.md\"; filename*=UTF-8''Bread.md"
    );
    assert_eq!(headers["cache-control"], "no-store");
    let text = response.text().await.expect("text");
    assert_eq!(
        text,
        "# Bread\n\n## System prompt\n\nBe brief.\n\n## You\n\nsalt?\n\n## Answer\n\nTwo percent\n\n## You\n\ncode?\n\n\
         ## Answer (llama 3)\n\nYes:\n```rust\nfn main\n```\n\n## You\n\nthanks\n"
    );
    let empty = app.owner.conversation().await;
    let export = format!("/api/conversations/{empty}/export?format=markdown");
    let empty = send(app.owner.get(&export)).await;
    assert_eq!(empty.text().await.expect("text"), "# Conversation\n");
    app.end().await;
}

#[tokio::test]
async fn a_file_is_named_after_the_title_whatever_the_title_is() {
    let app = spawn_app().await;
    for title in [
        "../../etc/passwd".to_owned(),
        "a \"quoted\"; filename=evil.exe\r\nSet-Cookie: x".to_owned(),
        "红烧肉 🙂 100%".to_owned(),
        "🙂".repeat(500),
        String::new(),
        "\u{202e}gnp.exe".to_owned(),
    ] {
        let mut file = file();
        file["title"] = json!(title);
        let made = imported(&app.owner, &file).await;
        for (format, extension) in [("json", ".json"), ("markdown", ".md")] {
            let export = format!("{}/export?format={format}", path(&made));
            let response = send(app.owner.get(&export)).await;
            assert_eq!(response.status(), 200);
            let header = response.headers()["content-disposition"]
                .to_str()
                .expect("ASCII")
                .to_owned();
            println!("{header}");
            assert_eq!(response.headers().get("set-cookie"), None);
            let (plain, encoded) = header
                .split_once("; filename*=UTF-8''")
                .expect("both names");
            let plain = plain
                .strip_prefix("attachment; filename=\"")
                .expect("an attachment");
            let plain = plain.strip_suffix('"').expect("quotes");
            assert!(plain.ends_with(extension) && !plain.contains(['"', '/', '\\', '%']));
            assert!(encoded.ends_with(extension) && !encoded.contains(['"', '/', '\\', ' ', ';']));
            for refused in ["%2F", "%5C", "%0D", "%0A", "%22", "%E2%80%AE"] {
                assert!(!encoded.contains(refused), "{encoded}");
            }
        }
    }
    app.end().await;
}

/// Where something else is put into a file, what, and the words that it is refused with.
const FAULTS: &str = r#"
/format ~ "other" ~ format:
/format ~ 1 ~ format:
/format_version ~ 2 ~ format_version: this server reads version 1
/format_version ~ "1" ~ format_version:
/format_version ~ null ~ format_version: it is missing
/title ~ 5 ~ title:
/system ~ {} ~ system:
/sampling ~ [0.5] ~ sampling:
/sampling ~ {"temperature": "hot"} ~ sampling:
/head_id ~ "c" ~ head_id: "c" is no message of the file
/created_at ~ "yesterday" ~ created_at:
/created_at ~ null ~ created_at: it is missing
/updated_at ~ "1969-12-31T23:59:59Z" ~ updated_at:
/updated_at ~ 12 ~ updated_at:
/messages ~ null ~ messages: it is missing
/messages ~ {} ~ messages:
/messages ~ [5] ~ messages[0]:
/messages ~ [null] ~ messages[0]: not an object
/messages ~ [["a", null, "user"]] ~ messages[0]: not an object
/messages/1/parent_id ~ "c" ~ messages[1].parent_id: "c" is no earlier message
/messages/0/parent_id ~ "b" ~ messages[0].parent_id: "b" is no earlier message
/messages/1/parent_id ~ "b" ~ messages[1].parent_id: "b" is no earlier message
/messages/1/id ~ "a" ~ messages[1].id: "a" is the id of an earlier message
/messages/1/id ~ null ~ messages[1].id: it is missing
/messages/1/role ~ "tool" ~ messages[1].role: there is no "tool"
/messages/1/role ~ null ~ messages[1].role: it is missing
/messages/1/status ~ "running" ~ messages[1].status: there is no "running"
/messages/0/status ~ "failed" ~ messages[0].status:
/messages/1/content ~ ["parts"] ~ messages[1].content:
/messages/1/content ~ null ~ messages[1].content: it is missing
/messages/1/reasoning ~ 1 ~ messages[1].reasoning:
/messages/1/tool_calls ~ "x" ~ messages[1].tool_calls:
/messages/1/usage ~ [1, 2] ~ messages[1].usage:
/messages/1/usage ~ {"prompt_tokens": -1} ~ messages[1].usage:
/messages/1/timings ~ {} ~ messages[1].timings:
/messages/1/created_at ~ "2026-13-01T00:00:00Z" ~ messages[1].created_at:
"#;

/// A file in which this is somewhere else.
fn with(pointer: &str, value: Value) -> Value {
    let mut file = file();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    file.pointer_mut(parent).expect("a place")[name] = value;
    file
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_refused_with_the_place_and_nothing_is_stored() {
    let app = spawn_app().await;
    let refused = async |file: &Value, words: &str| {
        println!("{words}");
        let refusal = problem(import(&app.owner, file).await, 422, "invalid-value").await;
        let detail = refusal["detail"].as_str().expect("words");
        assert!(detail.contains(words), "{detail}");
    };
    for fault in FAULTS.trim().lines() {
        let parts: Vec<_> = fault.splitn(3, " ~ ").collect();
        let value = serde_json::from_str(parts[1]).expect("JSON");
        refused(&with(parts[0], value), parts[2]).await;
    }
    refused(&json!([{"title": "x", "mapping": {}}]), "object").await;
    refused(&json!({}), "format:").await;
    refused(&json!({"title": "ChatGPT's", "mapping": {}}), "format:").await;
    let long = json!("x".repeat(10_000));
    refused(&with("/title", long.clone()), "title: 10000 characters").await;
    let place = "/messages/1/model";
    refused(&with(place, long.clone()), "messages[1].model: 10000").await;
    let stop = json!({"stop": [long]});
    refused(&with("/sampling", stop), "sampling.stop: 10000").await;
    let system = json!("x".repeat(100_001));
    refused(&with("/system", system), "system: 100001 characters").await;
    refused(&with("/model", long), "model: 10000 characters").await;

    let damaged = file().to_string();
    let request = app
        .owner
        .post(IMPORT)
        .header("content-type", "application/json");
    let cut = damaged[..damaged.len() / 2].to_owned();
    problem(send(request.body(cut)).await, 400, "malformed-request").await;
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"], json!([]));
    let get = send(app.owner.get(IMPORT)).await;
    problem(get, 405, "method-not-allowed").await;
    let conversation = app.owner.conversation().await;
    let export = format!("/api/conversations/{conversation}/export?format=pdf");
    problem(send(app.owner.get(&export)).await, 400, "malformed-request").await;
    app.end().await;
}

#[tokio::test]
async fn a_file_with_too_much_in_it_is_refused_by_the_name_of_the_limit() {
    let options = [
        ("limits.import_messages", "3"),
        ("limits.message_bytes", "100"),
    ];
    let app = spawn_app_with(&options).await;
    let many = |count: usize| {
        let message = |n: usize| {
            let mut message = file()["messages"][0].clone();
            message["id"] = json!(n.to_string());
            message
        };
        let mut file = with("/messages", (0..count).map(message).collect());
        file["head_id"] = Value::Null;
        file
    };
    let long = |bytes| with("/messages/0/content", json!("x".repeat(bytes)));
    for (file, kind, words) in [
        (
            many(4),
            "too-many-messages",
            "messages: 4 of them, with those that answer what nobody answered; a conversation that is imported may have 3 \
             (limits.import_messages)",
        ),
        (
            // Each gets an answer.
            many(2),
            "too-many-messages",
            "messages: 4 of them, with those that answer what nobody answered; a conversation that is imported may have 3 \
             (limits.import_messages)",
        ),
        (
            long(101),
            "message-too-large",
            "messages[0].content: 101 bytes of text, a message may have 100 (limits.message_bytes)",
        ),
    ] {
        let refusal = problem(import(&app.owner, &file).await, 413, kind).await;
        assert_eq!(refusal["detail"], words);
    }
    imported(&app.owner, &many(1)).await;
    imported(&app.owner, &long(100)).await;
    app.end().await;
}

#[tokio::test]
async fn a_file_over_the_limit_of_a_body_is_refused_by_the_name_of_the_limit() {
    let app = spawn_app_with(&[("limits.body_bytes", "2000")]).await;
    let mut file = file();
    file["messages"][1]["content"] = json!("x".repeat(2000));
    let refusal = problem(import(&app.owner, &file).await, 413, "body-too-large").await;
    let detail = refusal["detail"].as_str().expect("words");
    assert!(
        detail.contains("2000") && detail.contains("limits.body_bytes"),
        "{detail}"
    );
    app.end().await;
}

#[tokio::test]
async fn what_no_store_takes_is_mended_and_unknown_fields_are_left_out() {
    let app = spawn_app().await;
    let body = file()
        .to_string()
        .replace("Two percent", r"a\ud83d b\u0000 \ud83d\ude00")
        .replace("Bread", r"Br\u0000ead\udc00")
        .replacen(
            r#""finish_reason":"stop""#,
            r#""finish_reason":"stop","unknown":"\ud83d","tool_calls":[{"x\u0000":"\udead\u0000"}]"#,
            1,
        );
    assert_ne!(body, file().to_string());
    let request = app
        .owner
        .post(IMPORT)
        .header("content-type", "application/json");
    let response = send(request.body(body)).await;
    assert_eq!(response.status(), 201);
    let made: Value = response.json().await.expect("JSON");
    let read = app.owner.read(id(&made)).await;
    assert_eq!(read["title"], "Br\u{fffd}ead\u{fffd}");
    assert_eq!(read["messages"][1]["content"], "a\u{fffd} b\u{fffd} 😀");
    assert_eq!(
        read["messages"][1]["tool_calls"],
        json!([{"x\u{fffd}": "\u{fffd}\u{fffd}"}])
    );

    // Nothing comes from the future, and a head that is not named is the last message.
    let mut file = file();
    file["updated_at"] = json!("9999-12-31T23:59:59Z");
    file["messages"][0]["created_at"] = json!("2026-01-02T05:04:05.678901+02:00");
    file.as_object_mut().expect("an object").remove("head_id");
    let made = imported(&app.owner, &file).await;
    let later = app.owner.read(&app.owner.conversation().await).await;
    let at = |row: &Value, name: &str| {
        let at = row[name].as_str().expect("a time");
        OffsetDateTime::parse(at, &Rfc3339).expect("RFC 3339")
    };
    assert!(
        at(&made, "updated_at") <= at(&later, "created_at"),
        "{made}"
    );
    let read = app.owner.read(id(&made)).await;
    assert_eq!(read["updated_at"], made["updated_at"]);
    assert_eq!(read["head_id"], read["messages"][1]["id"]);
    assert_eq!(
        read["messages"][0]["created_at"],
        "2026-01-02T03:04:05.678Z"
    );
    app.end().await;
}

#[tokio::test]
async fn a_repeated_import_happens_once() {
    let app = spawn_app().await;
    let once = |file: &Value| {
        let request = app.owner.post(IMPORT).json(file);
        send(request.header("idempotency-key", "once"))
    };
    let (one, two) = (file(), file());
    let (one, two) = tokio::join!(once(&one), once(&two));
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (201, 201));
    assert_eq!(one.headers()["location"], two.headers()["location"]);
    let (one, two): (Value, Value) = (
        one.json().await.expect("JSON"),
        two.json().await.expect("JSON"),
    );
    assert_eq!(one, two);
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"].as_array().expect("rows").len(), 1);
    let mut other = file();
    other["title"] = json!("other");
    problem(once(&other).await, 422, "idempotency-key-reused").await;
    app.end().await;
}

#[tokio::test]
async fn every_tab_hears_of_what_was_imported() {
    let app = spawn_app().await;
    let request = app.owner.get("/api/feed");
    let mut feed = Events::new(send(request.header("accept", "text/event-stream")).await);
    feed.expect("snapshot").await;
    let made = imported(&app.owner, &file()).await;
    let told = loop {
        let frame = feed.next().await.expect("more events");
        if frame.event.as_deref() == Some("conversation") {
            break frame.data.expect("data");
        }
    };
    assert_eq!((id(&told), &told["head_id"]), (id(&made), &made["head_id"]));
    drop(feed);
    app.end().await;
}

/// A line of so many questions and answers.
fn long(questions: usize) -> Value {
    let mut file = file();
    let messages = (0..2 * questions).map(|n| {
        json!({"id": format!("m{n}"), "parent_id": n.checked_sub(1).map(|n| format!("m{n}")),
            "role": if n % 2 == 0 { "user" } else { "assistant" },
            "content": format!("{n} {}", "Some words that are said. ".repeat(12)), "status": "completed",
            "created_at": "2026-01-02T03:04:05.000Z"})
    });
    file["messages"] = messages.collect();
    file["head_id"] = Value::Null;
    file
}

#[tokio::test]
async fn ten_thousand_messages_are_imported_paged_and_purged() {
    let app = spawn_app().await;
    ten_thousand(&app).await;
    app.end().await;
}

async fn ten_thousand(app: &TestApp) {
    let file = long(5000);
    println!("{} bytes", file.to_string().len());
    let begun = Instant::now();
    let made = imported(&app.owner, &file).await;
    println!("imported in {:?}", begun.elapsed());
    let begun = Instant::now();
    let page = app
        .owner
        .get_json(&format!("{}?limit=50", path(&made)))
        .await;
    println!("a page in {:?}", begun.elapsed());
    assert_eq!(page["messages"].as_array().expect("messages").len(), 50);
    assert_eq!(page["earlier"], true);
    let begun = Instant::now();
    let again = exported(&app.owner, id(&made)).await;
    println!("exported in {:?}", begun.elapsed());
    assert_eq!(
        without_ids(&again)["messages"],
        without_ids(&file)["messages"]
    );
    let delete = app.owner.request(reqwest::Method::DELETE, &path(&made));
    assert_eq!(send(delete).await.status(), 204);
    let begun = Instant::now();
    let purged = app
        .chat
        .store
        .purge_conversations(std::time::Duration::ZERO)
        .await;
    println!("purged in {:?}", begun.elapsed());
    assert_eq!(purged.expect("purged"), 1);
}
