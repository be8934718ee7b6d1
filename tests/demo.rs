//! Promise: the demo model is a real upstream behind real HTTP, in what it says and in how it fails.

use continuo::{
    demo::{self, Demo},
    model::{Role, Sampling},
    upstream::{
        Answer, ChatRequest, Continuation, Delta, Failure, PromptMessage, Step, Upstream,
        UpstreamError, UpstreamOptions,
    },
};
use serde_json::{Value, json};
use std::{collections::HashSet, net::SocketAddr, time::Duration};

/// The demo on a thread and a plain runtime of its own, as any program may run it; it ends with the test.
struct Running {
    base_url: String,
    handle: actix_web::dev::ServerHandle,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Running {
    fn start() -> Self {
        Self::with_pause(Duration::ZERO)
    }

    fn with_pause(pause: Duration) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let demo: Demo = demo::start_with_pause(any_port, pause).expect("a port");
        let base_url = demo.base_url();
        let handle = demo.handle();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime?.block_on(demo.run())
        });
        Self {
            base_url,
            handle,
            thread: Some(thread),
        }
    }

    fn options(&self) -> UpstreamOptions {
        UpstreamOptions {
            base_url: self.base_url.clone(),
            api_key: None,
            login: None,
            connect: Duration::from_secs(20),
            first_byte: Duration::from_mins(1),
            silence: Duration::from_mins(1),
            total: Duration::from_mins(1),
            event_bytes: 1 << 20,
            continuation: Continuation::Prefill,
        }
    }

    fn upstream(&self) -> Upstream {
        Upstream::new(&self.options())
    }

    async fn stream(&self, prompt: &str) -> Result<Answer, (UpstreamError, Vec<Delta>)> {
        let mut completion = self
            .upstream()
            .stream(&request(prompt))
            .await
            .map_err(|error| (error, Vec::new()))?;
        let mut deltas = Vec::new();
        loop {
            match completion.next().await {
                Ok(Step::Deltas(more)) => deltas.extend(more),
                Ok(Step::End { finish_reason }) => {
                    return Ok(Answer {
                        deltas,
                        finish_reason,
                    });
                }
                Err(error) => return Err((error, deltas)),
            }
        }
    }

    async fn post(&self, body: String) -> (u16, Value) {
        let url = format!("{}/chat/completions", self.base_url);
        let sent = reqwest::Client::new().post(url).body(body).send().await;
        let response = sent.expect("a response");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The future only waits; the command is sent by the call.
        drop(self.handle.stop(false));
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            let ended = ended.expect("it ran").expect("it did not panic");
            ended.expect("it stopped in order");
        }
    }
}

fn request(prompt: &str) -> ChatRequest {
    ChatRequest {
        model: demo::MODEL.to_owned(),
        messages: vec![PromptMessage {
            role: Role::User,
            content: prompt.to_owned(),
        }],
        partial: String::new(),
        sampling: Sampling::default(),
    }
}

fn text(deltas: &[Delta]) -> String {
    deltas
        .iter()
        .filter_map(|delta| {
            if let Delta::Text(text) = delta {
                Some(&**text)
            } else {
                None
            }
        })
        .collect()
}

fn reasoning(deltas: &[Delta]) -> String {
    deltas
        .iter()
        .filter_map(|delta| {
            if let Delta::Reasoning(text) = delta {
                Some(&**text)
            } else {
                None
            }
        })
        .collect()
}

#[actix_web::test]
async fn it_lists_its_model_and_answers_with_varied_markdown() {
    let demo = Running::start();
    assert_eq!(demo.upstream().models().await.unwrap(), [demo::MODEL]);
    let mut texts = HashSet::new();
    for _ in 0..7 {
        let answer = demo.stream("What is a river?").await.unwrap();
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
        assert!(
            answer
                .deltas
                .contains(&Delta::Model(demo::MODEL.to_owned()))
        );
        assert!(
            matches!(answer.deltas.last(), Some(Delta::Usage(usage)) if usage.completion_tokens > 20),
            "{answer:?}"
        );
        texts.insert(text(&answer.deltas));
    }
    assert_eq!(texts.len(), 7);
    let all: String = texts.into_iter().collect();
    for needle in [
        "What is a river?",
        "```rust",
        "|:--|",
        "# ",
        "1. ",
        "- [x]",
        "你好",
        "👩‍🚀",
    ] {
        assert!(all.contains(needle), "no {needle:?}");
    }
    assert!(!all.contains("{prompt}"));
}

#[actix_web::test]
async fn streamed_or_whole_the_help_is_the_same_and_names_every_word() {
    let demo = Running::start();
    let streamed = demo.stream("help").await.unwrap();
    let whole = demo.upstream().complete(&request("help")).await.unwrap();
    assert_eq!(text(&streamed.deltas), text(&whole.deltas));
    for word in [
        "long",
        "slow",
        "think",
        "fail",
        "cut",
        "silent",
        "error 429",
    ] {
        assert!(text(&whole.deltas).contains(&format!("`{word}`")), "{word}");
    }
}

#[actix_web::test]
async fn it_fails_in_every_way_that_it_names() {
    let demo = Running::start();
    let (error, deltas) = demo.stream("fail").await.unwrap_err();
    assert_eq!(error.kind, Failure::Reported);
    assert!(!text(&deltas).is_empty());
    let (error, deltas) = demo.stream("cut").await.unwrap_err();
    assert_eq!(error.kind, Failure::Truncated);
    assert!(!text(&deltas).is_empty());
    let (error, _) = demo.stream("error 429").await.unwrap_err();
    assert_eq!((error.kind, error.status), (Failure::Refused, Some(429)));
    assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    let (error, _) = demo.stream("demo:error 503").await.unwrap_err();
    assert_eq!(error.status, Some(503));
    let error = demo
        .upstream()
        .complete(&request("fail"))
        .await
        .unwrap_err();
    assert_eq!(error.status, Some(500));
}

#[actix_web::test]
async fn a_silent_answer_begins_and_never_ends() {
    let demo = Running::start();
    let mut completion = demo.upstream().stream(&request("silent")).await.unwrap();
    let mut deltas = Vec::new();
    while text(&deltas).is_empty() {
        match completion.next().await.unwrap() {
            Step::Deltas(more) => deltas.extend(more),
            end @ Step::End { .. } => panic!("{end:?}"),
        }
    }
    // It is still there when others have been answered.
    demo.stream("hello").await.unwrap();
    tokio::select! {
        biased;
        step = async { loop { match completion.next().await { Ok(Step::Deltas(_)) => {} other => break other } } } => panic!("{step:?}"),
        answer = demo.stream("hello") => assert!(answer.is_ok()),
    }
}

#[actix_web::test]
async fn it_can_think_and_talk_for_long() {
    let demo = Running::start();
    let answer = demo.stream("think").await.unwrap();
    assert!(reasoning(&answer.deltas).contains("“think”"));
    assert!(!text(&answer.deltas).is_empty());
    let answer = demo.stream("long").await.unwrap();
    assert!(text(&answer.deltas).len() > 20_000);
    assert_eq!(reasoning(&answer.deltas), "");
}

#[actix_web::test]
async fn a_question_in_chinese_is_answered_in_chinese_thoughts_and_all() {
    let demo = Running::start();
    for (question, expected) in [
        ("用中文介绍一下你自己", "演示模型"),
        ("请用中文介绍一下中国茶文化，分几个小节。", "六大茶类"),
        ("今天天气怎么样？", "今天天气怎么样？"),
        ("农夫有 17 只羊，除了 9 只都跑了，还剩几只？", "还剩 9 只羊"),
    ] {
        let answer = demo.stream(question).await.unwrap();
        let text = text(&answer.deltas);
        assert!(text.contains(expected), "{question}: {text}");
        assert!(!text.contains(" the "), "{text}");
        let thoughts = reasoning(&answer.deltas);
        assert_eq!(
            thoughts.contains("第一反应"),
            question.contains("羊"),
            "{thoughts}"
        );
    }
}

/// As a title is asked for in the background: it must not disturb which answer comes next either.
#[actix_web::test]
async fn asked_for_a_title_it_answers_with_one_line() {
    let demo = Running::start();
    let asked = |question: &str| {
        let question = question.to_owned();
        let system = PromptMessage {
            role: Role::System,
            content: "Find a title for the conversation that begins like this.".to_owned(),
        };
        let mut request = request(&question);
        request.messages.insert(0, system);
        request.sampling.max_tokens = Some(40);
        request
    };
    for (question, title) in [
        ("long", "The keeper of letters"),
        ("What is a river?", "What is a river"),
        ("用中文介绍一下你自己", "演示模型的自我介绍"),
    ] {
        let answer = demo.upstream().complete(&asked(question)).await.unwrap();
        assert_eq!(text(&answer.deltas), title);
        assert_eq!(reasoning(&answer.deltas), "");
    }
    let mut texts = HashSet::new();
    for _ in 0..7 {
        let answer = demo.stream("What is a river?").await.unwrap();
        texts.insert(text(&answer.deltas));
        let _ = demo.upstream().complete(&asked("What is a river?")).await;
    }
    assert_eq!(texts.len(), 7);
}

#[actix_web::test]
async fn its_usage_is_plausible() {
    let demo = Running::start();
    let mut seen = Vec::new();
    for (prompt, sent) in [
        ("think", 4..8),
        (&*"words ".repeat(400), 580..640),
        (&*"茶".repeat(100), 100..110),
    ] {
        let answer = demo.stream(prompt).await.unwrap();
        let Some(Delta::Usage(usage)) = answer.deltas.last() else {
            panic!("{answer:?}");
        };
        assert!(sent.contains(&usage.prompt_tokens), "{prompt}: {usage:?}");
        let said = text(&answer.deltas) + &reasoning(&answer.deltas);
        let characters = said.chars().count() as u64;
        assert!(
            usage.completion_tokens >= characters / 5 && usage.completion_tokens <= characters,
            "{usage:?}"
        );
        seen.push(usage.completion_tokens);
    }
    assert!(seen[0] > 150, "its thoughts count");
}

#[actix_web::test]
async fn tokens_come_one_by_one_at_their_pace() {
    let demo = Running::with_pause(Duration::from_millis(5));
    let started = std::time::Instant::now();
    let mut completion = demo
        .upstream()
        .stream(&request("demo:slow please"))
        .await
        .unwrap();
    let mut steps = 0;
    while steps < 4 {
        if let Step::Deltas(deltas) = completion.next().await.unwrap() {
            steps += usize::from(!text(&deltas).is_empty());
        }
    }
    assert!(
        started.elapsed() >= Duration::from_millis(4 * 5 * 40),
        "{:?}",
        started.elapsed()
    );
}

#[actix_web::test]
async fn limits_and_stops_end_an_answer() {
    let demo = Running::start();
    let mut limited = request("What is a river?");
    limited.sampling.max_tokens = Some(5);
    let answer = demo.upstream().complete(&limited).await.unwrap();
    assert_eq!(answer.finish_reason.as_deref(), Some("length"));
    assert!(
        answer
            .deltas
            .iter()
            .any(|delta| matches!(delta, Delta::Usage(usage) if usage.completion_tokens == 5))
    );
    let mut stopped = request("help");
    stopped.sampling.stop = Some(vec!["real one".to_owned()]);
    let answer = demo.upstream().complete(&stopped).await.unwrap();
    assert!(
        text(&answer.deltas).ends_with("to talk to a "),
        "{answer:?}"
    );
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
}

#[actix_web::test]
async fn it_goes_on_where_the_text_of_its_answer_ends() {
    let demo = Running::start();
    for prompt in ["What is a river?", "cut", "fail", "think", "long", "help"] {
        let begun = match demo.stream(prompt).await {
            Ok(answer) => answer.deltas,
            Err((_, deltas)) => deltas,
        };
        // In the middle of a word, too.
        let partial: String = text(&begun).chars().take(45).collect();
        let mut wholes = HashSet::new();
        for continuation in [Continuation::Prefill, Continuation::Instruct] {
            let carried_on = ChatRequest {
                partial: partial.clone(),
                ..request(prompt)
            };
            let options = UpstreamOptions {
                continuation,
                ..demo.options()
            };
            let rest = Upstream::new(&options).complete(&carried_on).await.unwrap();
            assert_eq!(rest.finish_reason.as_deref(), Some("stop"));
            assert_eq!(reasoning(&rest.deltas), "");
            let whole = format!("{partial}{}", text(&rest.deltas));
            assert!(whole.starts_with(&text(&begun)), "{prompt}: {whole}");
            wholes.insert(whole);
        }
        assert_eq!(wholes.len(), 1, "{prompt}");
    }
}

#[actix_web::test]
async fn malformed_requests_get_errors_in_the_shape_of_openai() {
    let demo = Running::start();
    let message = json!({"role": "user", "content": "hi"});
    for (body, param) in [
        ("nonsense".to_owned(), None),
        (json!({"messages": [message]}).to_string(), Some("model")),
        (
            json!({"model": "", "messages": [message]}).to_string(),
            Some("model"),
        ),
        (json!({"model": "m"}).to_string(), Some("messages")),
        (
            json!({"model": "m", "messages": []}).to_string(),
            Some("messages"),
        ),
        (
            json!({"model": "m", "messages": [{"role": "king", "content": "hi"}]}).to_string(),
            Some("messages"),
        ),
        (json!({"model": "m", "messages": "hi"}).to_string(), None),
        (String::new(), None),
    ] {
        let (status, answer) = demo.post(body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["type"], "invalid_request_error", "{body}");
        assert_eq!(answer["error"]["param"].as_str(), param, "{body}");
        assert!(answer["error"]["message"].is_string(), "{body}");
    }
    let response = reqwest::get(format!("{}/embeddings", demo.base_url))
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "not_found");
}

#[actix_web::test]
async fn it_runs_within_an_actix_system_too() {
    let demo = demo::start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let handle = demo.handle();
    let base_url = demo.base_url();
    assert_ne!(demo.address().port(), 0);
    let asking = async {
        let response = reqwest::get(format!("{base_url}/models/{}", demo::MODEL))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        handle.stop(false).await;
    };
    let (ran, ()) = tokio::join!(demo.run(), asking);
    ran.unwrap();
}
