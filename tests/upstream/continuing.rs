//! How the model server is asked to carry an answer on.

use crate::{fake_upstream::FakeUpstream, options, request};
use continuo::upstream::{ChatRequest, Continuation, Failure, GO_ON, Upstream, UpstreamOptions};
use serde_json::{Value, json};

/// The JSON that is sent to carry `partial` on.
async fn sent(continuation: Continuation, partial: &str) -> Value {
    let fake = FakeUpstream::start().await;
    let options = UpstreamOptions {
        continuation,
        ..options(&fake)
    };
    let upstream = Upstream::new(&options);
    let request = ChatRequest {
        partial: partial.to_owned(),
        ..request()
    };
    let answering = async {
        let mut call = fake.next_call().await;
        call.answer(&["lo"]).await;
        call
    };
    let (completion, call) = tokio::join!(upstream.stream(&request), answering);
    completion.expect("an answer");
    call.json()
}

#[actix_web::test]
async fn prefill_ends_with_the_answer_and_says_that_it_is_not_over() {
    let json = sent(Continuation::Prefill, "Hel").await;
    let messages = json["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2);
    assert_eq!(
        messages[1],
        json!({"role": "assistant", "content": "Hel"}),
        "{json}"
    );
    assert_eq!(json["continue_final_message"], true);
    assert_eq!(json["add_generation_prompt"], false);
    assert_eq!(
        (&json["stream"], &json["max_tokens"]),
        (&json!(true), &json!(7))
    );
}

#[actix_web::test]
async fn instruct_asks_for_the_rest_in_words_and_sends_no_field_that_openai_refuses() {
    let json = sent(Continuation::Instruct, "Hel").await;
    let messages = json["messages"].as_array().expect("messages");
    assert_eq!(
        messages[1..],
        [
            json!({"role": "assistant", "content": "Hel"}),
            json!({"role": "user", "content": GO_ON})
        ]
    );
    let fields: Vec<_> = json.as_object().expect("an object").keys().collect();
    assert_eq!(
        fields,
        [
            "max_tokens",
            "messages",
            "model",
            "stream",
            "stream_options"
        ]
    );
}

#[actix_web::test]
async fn an_answer_without_text_is_asked_for_as_any_other() {
    for continuation in [Continuation::Prefill, Continuation::Instruct] {
        let json = sent(continuation, "").await;
        assert_eq!(json["messages"].as_array().map(Vec::len), Some(1));
        let fields: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(
            fields,
            [
                "max_tokens",
                "messages",
                "model",
                "stream",
                "stream_options"
            ]
        );
    }
}

#[actix_web::test]
async fn a_server_that_refuses_the_fields_is_told_with_the_option_that_helps() {
    let words = "Unrecognized request argument supplied: add_generation_prompt";
    for (continuation, partial, helps) in [
        (Continuation::Prefill, "Hel", true),
        (Continuation::Prefill, "", false),
        (Continuation::Instruct, "Hel", false),
    ] {
        let fake = FakeUpstream::start().await;
        let upstream = Upstream::new(&UpstreamOptions {
            continuation,
            ..options(&fake)
        });
        let request = ChatRequest {
            partial: partial.to_owned(),
            ..request()
        };
        let refusing = async {
            let body = json!({"error": {"message": words, "type": "invalid_request_error"}});
            let mut call = fake.next_call().await;
            call.reply_json(400, &body).await;
            call
        };
        let (refused, _call) = tokio::join!(upstream.stream(&request), refusing);
        let error = refused.err().expect("a refusal");
        assert_eq!((error.kind, error.status), (Failure::Refused, Some(400)));
        assert!(error.message.starts_with(words), "{error:?}");
        assert_eq!(
            error.message.contains("upstream.continue"),
            helps,
            "{error:?}"
        );
    }
}
