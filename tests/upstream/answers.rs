//! Streams of the quirks list that have no fixture, and answers in other forms.

use crate::{Read, ask, fake_upstream::FakeUpstream, options, read, request};
use continuo::upstream::{Delta, Failure, Upstream};
use serde_json::{Value, json};

/// What a stream is to be read as: text, reasoning, and the finish reason or the failure with a part of its message.
struct Row {
    name: &'static str,
    stream: String,
    text: &'static str,
    ending: Result<Option<&'static str>, (Failure, &'static str)>,
    /// More that has to be true.
    also: fn(&Read),
}

impl Row {
    fn new(name: &'static str, stream: impl Into<String>, text: &'static str) -> Self {
        Self {
            name,
            stream: stream.into(),
            text,
            ending: Ok(Some("stop")),
            also: |_| {},
        }
    }

    fn ends(mut self, reason: Option<&'static str>) -> Self {
        self.ending = Ok(reason);
        self
    }

    fn fails(mut self, failure: Failure, message: &'static str) -> Self {
        self.ending = Err((failure, message));
        self
    }

    fn also(mut self, also: fn(&Read)) -> Self {
        self.also = also;
        self
    }

    fn check(&self, read: &Read) {
        let context = format!("{}: {read:?}", self.name);
        assert_eq!(read.text(), self.text, "{context}");
        match self.ending {
            Ok(reason) => assert_eq!(read.finish(), reason, "{context}"),
            Err((failure, message)) => {
                let error = read.error();
                assert_eq!(error.kind, failure, "{context}");
                assert!(error.message.contains(message), "{context}");
            }
        }
        (self.also)(read);
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn choice(delta: &Value, finish_reason: &Value) -> String {
    event(
        &json!({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}),
    )
}

fn text(text: &str) -> String {
    choice(&json!({"content": text}), &Value::Null)
}

fn stop() -> String {
    choice(&json!({}), &json!("stop"))
}

const DONE: &str = "data: [DONE]\n\n";

fn usage_is(read: &Read, prompt: u64, completion: u64) {
    let usage = read.usage.expect("usage");
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens),
        (prompt, completion)
    );
}

fn usage_event(prompt: u64, completion: u64) -> String {
    event(
        &json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}),
    )
}

fn tool(fragment: &Value) -> String {
    choice(&json!({"tool_calls": [fragment]}), &Value::Null)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let hello = text("Hel") + &text("lo");
    vec![
        Row::new(
            "Azure: choices without a delta, also after the finish",
            event(&json!({"model": "m", "choices": [{"index": 0, "finish_reason": null, "content_filter_results": {}}]}))
                + &hello
                + &stop()
                + &event(&json!({"model": "", "choices": [{"index": 0, "finish_reason": null, "content_filter_offsets": {}}]}))
                + DONE,
            "Hello",
        )
        .also(|read| assert_eq!(read.models, ["m"])),
        Row::new(
            "usage on the finish chunk",
            hello.clone()
                + &event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))
                + DONE,
            "Hello",
        )
        .also(|read| usage_is(read, 7, 2)),
        Row::new("usage second to last", hello.clone() + &usage_event(7, 2) + &stop() + DONE, "Hello").also(|read| usage_is(read, 7, 2)),
        Row::new("zeros are figures", usage_event(7, 2) + &stop() + &usage_event(0, 0) + DONE, "").also(|read| usage_is(read, 0, 0)),
        Row::new(
            "Groq and Kimi have places of their own for usage",
            event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]}))
                + &event(&json!({"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}})),
            "",
        )
        .also(|read| usage_is(read, 3, 4)),
        Row::new("a comment inside an event", "data: {\"choices\":[{\"delta\":\n: still here\n:\ndata: {\"content\":\"a\"}}]}\n\n".to_owned() + &stop(), "a"),
        Row::new("data without anything", format!("data:\n\ndata\n\ndata: \n\n{}{}", hello, stop()), "Hello")
            .also(|read| assert_eq!(read.skipped, 0)),
        Row::new("[DONE] without a blank line", hello.clone() + &stop() + "data: [DONE]", "Hello"),
        Row::new("[DONE] with a single line end", hello.clone() + "data: [DONE]\r\n", "Hello").ends(None),
        Row::new("a finish without a blank line", hello.clone() + stop().trim_end(), "Hello"),
        Row::new("bytes after [DONE]", hello.clone() + &stop() + DONE + &text("no") + "data: {\"error\": \"no\"}\n\n", "Hello"),
        Row::new("[DONE] with only null finish reasons", hello.clone() + DONE, "Hello").ends(None),
        Row::new("a clean close with neither", hello.clone(), "Hello").fails(Failure::Truncated, "before the answer was done"),
        Row::new("a clean close after comments", ": working\n\n", "").fails(Failure::Truncated, ""),
        Row::new("an empty answer", "", "").fails(Failure::Unreadable, "empty answer"),
        Row::new("nothing but blank lines", "\n\n\r\n", "").fails(Failure::Unreadable, "empty answer"),
        Row::new("something else", "Service is starting\n", "").fails(Failure::Unreadable, "neither an event stream nor JSON"),
        Row::new("a web page with status 200", "<!DOCTYPE html><p>Log in", "").fails(Failure::Unreadable, "web page"),
        Row::new(
            "an error in mid-stream, then [DONE]",
            hello.clone() + "data: {\"error\":{\"message\":\"out of memory\",\"code\":503}}\n\n" + DONE,
            "Hello",
        )
        .fails(Failure::Reported, "out of memory")
        .also(|read| assert_eq!(read.error().status, Some(503))),
        Row::new("an error that is a string", hello.clone() + "data: {\"error\":\"out of memory\"}\n\n", "Hello").fails(Failure::Reported, "out of memory"),
        Row::new(
            "a chunk with an error at the top and finish reason error",
            hello.clone()
                + &event(&json!({"error": {"code": 502, "message": "Provider disconnected"},
                    "choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "error"}]}))
                + DONE,
            "Hello!",
        )
        .fails(Failure::Reported, "Provider disconnected"),
        Row::new("an error event of plain words", hello.clone() + "event: error\ndata: overloaded\n\n", "Hello").fails(Failure::Reported, "overloaded"),
        Row::new("an error event without words", "event: error\ndata: {\"code\": 1}\n\n", "").fails(Failure::Reported, "reported an error"),
        Row::new(
            "an error of older vLLM servers",
            hello.clone() + "data: {\"object\":\"error\",\"message\":\"bad\\u0007 luck\",\"code\":400}\n\n" + DONE,
            "Hello",
        )
        .fails(Failure::Reported, "bad luck"),
        Row::new("no error", "data: {\"error\":null,\"choices\":[]}\n\ndata: {\"error\":\"\",\"choices\":[]}\n\n".to_owned() + &stop(), ""),
        Row::new("200 with a JSON error as an event stream", "{\"error\":{\"message\":\"model overloaded\",\"code\":503}}", "")
            .fails(Failure::Reported, "model overloaded")
            .also(|read| assert_eq!(read.error().status, Some(503))),
        Row::new("200 with an error without words", "{\"error\":{\"code\":7}}", "").fails(Failure::Reported, "reported an error"),
        Row::new("200 with a detail", "{\"detail\":\"not today\"}", "").fails(Failure::Reported, "not today"),
        Row::new("200 with other JSON", "{\"models\":[]}", "").fails(Failure::Unreadable, "not a chat completion"),
        Row::new("200 with half of a JSON answer", "{\"choices\":[{\"mess", "").fails(Failure::Truncated, "broke its answer off"),
        Row::new(
            "a whole answer with tools, in reply to stream: true",
            json!({"model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null,
                "reasoning_content": "think", "tool_calls": [
                    {"type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"type": "function", "function": {"name": "g", "arguments": "{}"}}]}}]})
            .to_string(),
            "",
        )
        .ends(Some("tool_calls"))
        .also(|read| {
            assert_eq!(read.transcript.reasoning, "think");
            assert_eq!(read.transcript.tool_calls[1]["function"]["name"], "g");
        }),
        Row::new("an event with broken JSON", text("Hel") + "data: {\"choices\":[{\n\ndata: 7\n\ndata: hello\n\n" + &text("lo") + &stop() + DONE, "Hello")
            .also(|read| assert_eq!(read.skipped, 3)),
        Row::new("other JSON in between", text("Hel") + "event: ping\ndata: {\"type\":\"ping\"}\n\n" + &text("lo") + &stop() + DONE, "Hello")
            .also(|read| assert_eq!(read.skipped, 0)),
        Row::new(
            "thinking under both names counts once",
            choice(&json!({"reasoning_content": "think", "reasoning": "think"}), &Value::Null) + &text("a") + &stop(),
            "a",
        )
        .also(|read| assert_eq!(read.transcript.reasoning, "think")),
        Row::new(
            "content in typed parts",
            choice(
                &json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "think"}]}, {"type": "text", "text": "a"}, {"type": "x"}]}),
                &Value::Null,
            ) + &stop(),
            "a",
        )
        .also(|read| assert_eq!(read.transcript.reasoning, "think")),
        Row::new("a refusal is what the user should read", choice(&json!({"content": null, "refusal": "No."}), &Value::Null) + &stop(), "No."),
        Row::new(
            "tool calls without an index, with finish reason stop",
            tool(&json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\""}}))
                + &tool(&json!({"function": {"arguments": ":1}"}}))
                + &tool(&json!({"id": "b", "function": {"name": "g", "arguments": "{}"}}))
                + &stop(),
            "",
        )
        .also(|read| {
            let calls = &read.transcript.tool_calls;
            assert_eq!(calls[0]["function"], json!({"name": "f", "arguments": "{\"x\":1}"}));
            assert_eq!((&calls[1]["id"], calls.len()), (&json!("b"), 2));
        }),
        Row::new(
            "a tool call with an absurd index",
            tool(&json!({"index": 4_000_000_000_u32, "function": {"name": "f"}})) + &text("a") + &stop(),
            "a",
        )
        .also(|read| {
            assert_eq!(read.transcript.tool_calls.len(), 0);
            assert_eq!(read.skipped, 1);
        }),
        Row::new(
            "finish reason stop on every chunk",
            choice(&json!({"content": "Hel"}), &json!("stop")) + &choice(&json!({"content": "lo"}), &json!("stop")) + DONE,
            "Hello",
        ),
        Row::new(
            "an empty finish reason is none",
            choice(&json!({"content": "Hel"}), &json!("")) + &choice(&json!({"content": "lo"}), &json!("")),
            "Hello",
        )
        .fails(Failure::Truncated, ""),
        Row::new("a finish reason is not forgotten", stop() + &text("") + DONE, ""),
        Row::new("an unknown finish reason", text("a") + &choice(&json!({}), &json!("eos")), "a").ends(Some("eos")),
        Row::new(
            "n = 2 with index 1 first",
            event(&json!({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}))
                + &event(&json!({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}]}))
                + &event(&json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]})),
            "yes",
        ),
        Row::new(
            "halves of a character in two chunks, a lone half, and U+0000",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\\ud83d\",\"reasoning\":\"\\ud83d\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"reasoning\":\"\\ude00\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"\\ude00 \\ud83d! \\u0000 \\ude00 \\ud83d\"}}]}\n\n"
                .to_owned()
                + &stop()
                + DONE,
            "a😀 \u{fffd}! \u{fffd} \u{fffd} \u{fffd}",
        )
        .also(|read| assert_eq!(read.transcript.reasoning, "😀")),
        Row::new("characters of every length", text("é漢字😀") + &text("👩‍👩‍👧") + &stop(), "é漢字😀👩‍👩‍👧"),
        Row::new(
            "types that nobody expects",
            event(&json!({"model": 7, "id": [], "choices": [{"index": null, "delta": {"content": {"x": 1}, "reasoning": 7, "tool_calls": {}}}], "usage": "none"}))
                + &event(&json!({"choices": null}))
                + &hello
                + &stop(),
            "Hello",
        )
        .also(|read| assert_eq!(read.models, ["m"])),
    ]
}

#[actix_web::test]
async fn every_quirk_without_a_fixture_is_read_whole_and_byte_by_byte() {
    let fake = FakeUpstream::start().await;
    for row in rows() {
        for piece in [1, 7, usize::MAX] {
            let read = ask(&fake, async |call| {
                call.head_chunked("text/plain").await;
                for bytes in row.stream.as_bytes().chunks(piece) {
                    if !call.send_raw(bytes).await {
                        return;
                    }
                }
                call.end().await;
            });
            row.check(&read.await);
        }
    }
}

#[actix_web::test]
async fn a_body_that_ends_with_its_connection_is_read_from_http_1_0() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            .await;
        call.write((text("Hello") + &stop()).as_bytes()).await;
        call.close();
    });
    let read = read.await;
    assert_eq!((read.text(), read.finish()), ("Hello", Some("stop")));
}

#[actix_web::test]
async fn a_compressed_answer_is_refused_in_clear_words() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        let headers = [
            ("content-encoding", "gzip"),
            ("transfer-encoding", "chunked"),
        ];
        call.head(200, &headers).await;
    });
    let read = read.await;
    assert_eq!(read.error().kind, Failure::Unreadable);
    assert!(read.error().message.contains("compressed"), "{read:?}");
}

#[actix_web::test]
async fn the_request_says_what_is_asked_and_who_asks() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        assert_eq!(
            (&*call.method, &*call.path),
            ("POST", "/v1/chat/completions")
        );
        assert_eq!(
            call.headers["authorization"],
            format!("Bearer {}", crate::KEY)
        );
        assert_eq!(call.headers["content-type"], "application/json");
        assert_eq!(call.headers["accept-encoding"], "identity");
        let expected = json!({"model": "some-model", "messages": [{"role": "user", "content": "Say \"hello\"\n漢"}],
            "max_tokens": 7, "stream": true, "stream_options": {"include_usage": true}});
        assert_eq!(call.json(), expected);
        call.answer(&["Hel", "lo"]).await;
    });
    let read = read.await;
    assert_eq!((read.text(), read.finish()), ("Hello", Some("stop")));
    assert_eq!(read.models, [crate::fake_upstream::MODEL]);
}

#[actix_web::test]
async fn a_whole_answer_is_whole_however_the_server_sends_it() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let whole = json!({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})
        .to_string();
    for as_events in [false, true] {
        let request = request();
        let answering = async {
            let mut call = fake.next_call().await;
            assert_eq!(call.json()["stream"], false);
            assert_eq!(call.json().get("stream_options"), None);
            if as_events {
                call.answer(&["Hel", "lo"]).await;
            } else {
                // DeepSeek keeps the connection alive with blank lines.
                call.head_chunked("application/json").await;
                call.send_raw("\n\n").await;
                call.send_raw("\n").await;
                call.send_raw(&whole).await;
                call.end().await;
            }
        };
        let (answer, ()) = tokio::join!(upstream.complete(&request), answering);
        let answer = answer.unwrap();
        assert!(
            answer.deltas.contains(&Delta::Text("Hello".to_owned())),
            "{answer:?}"
        );
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    }
}

#[actix_web::test]
async fn an_event_without_end_is_refused_at_the_limit() {
    let fake = FakeUpstream::start().await;
    let mut sent = 0;
    let read = ask(&fake, async |call| {
        call.head_sse().await;
        call.send_raw("data: {\"choices\":[{\"delta\":{\"content\":\"")
            .await;
        let piece = vec![b'x'; 64 * 1024];
        while sent < 300_000_000 && call.send_raw(&piece).await {
            sent += piece.len();
        }
        call.closed().await;
    });
    let read = read.await;
    assert_eq!(read.error().kind, Failure::TooLarge, "{read:?}");
    // What the client did not hold waits in the buffers of the sockets, or was never sent.
    assert!(sent < 30_000_000, "{sent} bytes sent");
}

#[actix_web::test]
async fn a_whole_answer_without_end_is_refused_at_the_limit() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.head_chunked("application/json").await;
        call.send_raw("{\"choices\":\"").await;
        while call.send_raw(vec![b'x'; 64 * 1024]).await {}
        call.closed().await;
    });
    assert_eq!(read.await.error().kind, Failure::TooLarge);
}

#[actix_web::test]
async fn an_endless_comment_is_no_event() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.head_sse().await;
        call.send_raw(": ").await;
        for _ in 0..100 {
            call.send_raw(vec![b'x'; 64 * 1024]).await;
        }
        call.send_raw(format!("\n\n{}{DONE}", text("Hello"))).await;
        call.closed().await;
    });
    let read = read.await;
    assert_eq!((read.text(), read.finish()), ("Hello", None));
}

#[actix_web::test]
async fn one_read_is_one_step_and_its_text_comes_before_the_end() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    let request = request();
    let (completion, mut call) = tokio::join!(upstream.stream(&request), async {
        let mut call = fake.next_call().await;
        call.head_sse().await;
        call
    });
    call.send_raw(text("a") + &text("b") + &stop() + DONE).await;
    let mut completion = completion.unwrap();
    let first = completion.next().await.unwrap();
    let expected = vec![Delta::Model("m".to_owned()), Delta::Text("ab".to_owned())];
    assert_eq!(first, continuo::upstream::Step::Deltas(expected));
    let read = read(Ok(completion)).await;
    assert_eq!((read.text(), read.finish()), ("", Some("stop")));
}
