//! Promise: what real OpenAI-compatible servers send is read to the last word, and every way to fail keeps its meaning.

#[path = "upstream/answers.rs"]
mod answers;
#[path = "upstream/connections.rs"]
mod connections;
#[path = "upstream/continuing.rs"]
mod continuing;
#[path = "upstream/deadlines.rs"]
mod deadlines;
#[path = "support/fake_upstream.rs"]
mod fake_upstream;
#[path = "upstream/fixtures.rs"]
mod fixtures;
#[path = "upstream/refusals.rs"]
mod refusals;

use continuo::{
    event::{Event, Transcript},
    model::{Role, Sampling, Usage},
    upstream::{
        ChatRequest, Completion, Continuation, Delta, PromptMessage, Secret, Step, Upstream,
        UpstreamError, UpstreamOptions,
    },
};
use fake_upstream::{Call, FakeUpstream};
use std::time::Duration;

const KEY: &str = "sk-0123456789abcdef";

/// Deadlines that no busy machine reaches, and that end a test which waits in vain.
fn options(fake: &FakeUpstream) -> UpstreamOptions {
    UpstreamOptions {
        first_byte: Duration::from_secs(30),
        silence: Duration::from_secs(30),
        total: Duration::from_mins(2),
        ..production(fake)
    }
}

/// The deadlines that a server has by default.
fn production(fake: &FakeUpstream) -> UpstreamOptions {
    UpstreamOptions {
        base_url: fake.base_url(),
        api_key: Some(Secret(KEY.to_owned())),
        login: None,
        connect: Duration::from_secs(20),
        first_byte: Duration::from_mins(10),
        silence: Duration::from_mins(3),
        total: Duration::from_hours(1),
        event_bytes: 1 << 20,
        continuation: Continuation::Prefill,
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "some-model".to_owned(),
        messages: vec![PromptMessage {
            role: Role::User,
            content: "Say \"hello\"\n漢".to_owned(),
        }],
        partial: String::new(),
        sampling: Sampling {
            max_tokens: Some(7),
            ..Sampling::default()
        },
    }
}

/// What reading an answer to its end gave.
#[derive(Debug, Default)]
struct Read {
    transcript: Transcript,
    usage: Option<Usage>,
    models: Vec<String>,
    /// `Ok` of the finish reason.
    ending: Option<Result<Option<String>, UpstreamError>>,
    skipped: u64,
}

impl Read {
    fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Text(text) => self.transcript.apply(&Event::Delta { text }),
            Delta::Reasoning(text) => self.transcript.apply(&Event::Reasoning { text }),
            Delta::ToolCalls(tool_calls) => {
                self.transcript.apply(&Event::ToolCalls { tool_calls });
            }
            Delta::Usage(usage) => self.usage = Some(usage),
            Delta::Model(model) => self.models.push(model),
        }
    }

    fn text(&self) -> &str {
        &self.transcript.text
    }

    fn finish(&self) -> Option<&str> {
        match &self.ending {
            Some(Ok(reason)) => reason.as_deref(),
            ending => panic!("not the end of an answer: {ending:?}"),
        }
    }

    fn error(&self) -> &UpstreamError {
        match &self.ending {
            Some(Err(error)) => error,
            ending => panic!("not an error: {ending:?}"),
        }
    }
}

async fn read(completion: Result<Completion, UpstreamError>) -> Read {
    let mut read = Read::default();
    let mut completion = match completion {
        Ok(completion) => completion,
        Err(error) => {
            read.ending = Some(Err(error));
            return read;
        }
    };
    while read.ending.is_none() {
        match completion.next().await {
            Ok(Step::Deltas(deltas)) => deltas.into_iter().for_each(|delta| read.add(delta)),
            Ok(Step::End { finish_reason }) => read.ending = Some(Ok(finish_reason)),
            Err(error) => read.ending = Some(Err(error)),
        }
    }
    read.skipped = completion.skipped();
    if let Some(Err(error)) = &read.ending {
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
        assert!(!error.message.chars().any(char::is_control), "{error:?}");
    }
    read
}

/// What a client reads of an answer that `play` sends.
async fn ask(fake: &FakeUpstream, play: impl AsyncFnOnce(&mut Call)) -> Read {
    ask_with(&options(fake), fake, play).await
}

async fn ask_with(
    options: &UpstreamOptions,
    fake: &FakeUpstream,
    play: impl AsyncFnOnce(&mut Call),
) -> Read {
    let upstream = Upstream::new(options);
    let request = request();
    let answering = async {
        let mut call = fake.next_call().await;
        play(&mut call).await;
        // Only the client says when it has read enough: a call that is dropped closes its socket.
        call
    };
    let reading = async { read(upstream.stream(&request).await).await };
    let (read, _call) = tokio::join!(reading, answering);
    read
}

/// Stops the clock of the runtime: nothing times out until the test says that time passed.
///
/// Tokio moves a paused clock by itself when the runtime is idle, as it is while bytes travel through a socket; so it is kept busy.
struct FrozenClock {
    busy: tokio::task::JoinHandle<()>,
}

impl FrozenClock {
    #[expect(clippy::disallowed_methods, reason = "aborted by its drop")]
    fn new() -> Self {
        tokio::time::pause();
        let started = std::time::Instant::now();
        let busy = tokio::task::spawn_local(async move {
            while started.elapsed() < Duration::from_mins(2) {
                tokio::task::yield_now().await;
            }
            // Without a clock nothing else would end a test that waits in vain.
            eprintln!("a test with a frozen clock waits in vain");
            std::process::exit(101);
        });
        Self { busy }
    }

    /// Lets everything happen that can, then time pass, in small steps.
    async fn pass(&self, duration: Duration) {
        for _ in 0..100 {
            self.settle().await;
            tokio::time::advance(duration / 100).await;
        }
        self.settle().await;
    }

    /// The runtime looks at its sockets every 61 turns.
    async fn settle(&self) {
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for FrozenClock {
    fn drop(&mut self) {
        self.busy.abort();
        tokio::time::resume();
    }
}
