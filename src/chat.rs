//! Start, attach, read, stop, delete, drain: the only place where generations, registry, store and upstream meet.
//!
//! HTTP calls these methods and does nothing else; the task that reads one answer is in `run`.

mod attach;
mod changes;
mod ending;
mod history;
mod kept;
mod models;
mod overlap;
mod reading;
mod relay;
mod run;
mod spending;
mod titles;
mod twins;

pub use attach::{Attachment, Payloads};
pub use history::{BranchRead, ConversationRead, ListedRead, MessageRead, RunningAt};
pub use models::ModelList;
pub use relay::{Begun, Opened, Opening, Relay, RelayRefused, why_not_whole};

use crate::{
    feed::Feeds,
    generation::Generation,
    limits::Spent,
    log::EventLog,
    model::{ConversationId, GenerationId, GenerationRecord, MessageId, Outcome, Sampling, UserId},
    recorder::Recorder,
    registry::{Full, Registry},
    standing::Standing,
    store::{Lease, NewTurn, Once, Parent, Receipt, Store, StoreError, TurnOf, TurnRefused},
    upstream::Upstream,
};
use attach::Found;
use models::Models;
use run::Reply;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use twins::{Repeats, Twins};
use utoipa::ToSchema;

/// What `chat` keeps to.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The model when neither the request nor the conversation names one; else the first that the upstream lists.
    pub model: Option<String>,
    /// What the upstream calls the models that are asked for by these names.
    pub aliases: BTreeMap<String, String>,
    /// The largest context sent to the upstream, in bytes of text.
    pub context_bytes: usize,
    /// The largest answer, text, thinking text and tool calls together, in bytes of their events.
    pub answer_bytes: usize,
    /// How long the end of an answer may take to be kept, in the store or on disk.
    pub store_patience: Duration,
    /// How long a user's feed stays whole when nobody follows it any more.
    pub feed_retain: Duration,
    /// How long a model may take to name a conversation; `None`: it is not asked.
    pub titles: Option<Duration>,
}

/// Shared by all workers.
pub struct Chat {
    pub registry: Arc<Registry>,
    pub store: Arc<dyn Store>,
    pub recorder: Arc<Recorder>,
    pub feeds: Arc<Feeds>,
    options: ChatOptions,
    tasks: TaskTracker,
    models: Models,
    twins: Twins,
    repeats: Repeats,
    drain_asked: CancellationToken,
    no_more_titles: CancellationToken,
}

/// What a user asks for.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A new message and its answer.
    Prompt {
        conversation_id: ConversationId,
        parent: Parent,
        content: String,
    },
    /// Another answer beside this one.
    Regenerate { message_id: MessageId },
    /// More text for this answer, which ended before it was complete.
    Continue { message_id: MessageId },
}

#[derive(Debug, Clone)]
pub struct Start {
    pub standing: Arc<Standing>,
    /// The request that asks; part of a problem in the terminal event.
    pub request_id: String,
    pub ask: Ask,
    pub model: Option<String>,
    pub sampling: Sampling,
    pub once: Option<Once>,
}

/// The ids of a started turn, and the JSON that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_message_id: Option<MessageId>,
    pub message_id: MessageId,
    pub generation_id: GenerationId,
}

impl Started {
    /// Where the generation is read.
    pub fn location(&self) -> String {
        format!("/api/generations/{}", self.generation_id)
    }
}

/// Why nothing was started. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the turn was refused: {0:?}")]
    Refused(TurnRefused),
    #[error("the idempotency key was used for something else")]
    KeyReused,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the disk takes nothing more while the database is away")]
    SpoolFull,
    #[error("what ended before is not in the database yet")]
    Unsettled,
    /// Of a client of `/v1` whose answer is kept, here, and its payloads are not.
    #[error("the same was answered before, at {0}")]
    AnsweredBefore(String),
    #[error("the tokens of this day are spent")]
    Spent(Spent),
    #[error("the task that starts the generation died")]
    Died,
}

/// Why something that is there cannot be had now.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another node runs the generation")]
    Elsewhere,
    #[error("the end of the generation is not in the database yet")]
    Unsettled,
    #[error("the generation has payloads and no events")]
    Relayed,
}

impl Chat {
    pub fn new(
        options: ChatOptions,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        recorder: Arc<Recorder>,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry,
            store,
            recorder,
            feeds: Feeds::new(options.feed_retain),
            options,
            tasks: TaskTracker::new(),
            models: Models::default(),
            twins: Twins::default(),
            repeats: Repeats::default(),
            drain_asked: CancellationToken::new(),
            no_more_titles: CancellationToken::new(),
        })
    }

    /// Stores the turn and starts its generation on this worker.
    ///
    /// All of it happens in a task of its own: a client that leaves while its turn is being stored gets its answer all the same.
    /// The same `once` again answers the same ids and starts nothing.
    pub async fn start(
        self: &Arc<Self>,
        upstream: &Upstream,
        start: Start,
    ) -> Result<Started, StartError> {
        let mut turn = None;
        if let Some(once) = &start.once {
            turn = Some(self.twins.turn(start.standing.user, once).await);
            if let Some(before) = self.store.receipt(start.standing.user, once).await? {
                return run::replayed(before);
            }
        }
        if self.recorder.is_stuck() {
            return Err(StartError::SpoolFull);
        }
        // Answers that ended on disk only still stream to the store, which would refuse a question below them.
        if !self.recorder.settled(start.standing.user).await {
            return Err(StartError::Unsettled);
        }
        let started = Started {
            user_message_id: matches!(start.ask, Ask::Prompt { .. }).then(MessageId::new),
            message_id: match start.ask {
                Ask::Continue { message_id } => message_id,
                _ => MessageId::new(),
            },
            generation_id: GenerationId::new(),
        };
        self.admit(&start.standing).await?;
        let log = EventLog::new(self.registry.log_bytes());
        let generation = Generation::new(
            started.generation_id,
            Some(started.message_id),
            start.standing.clone(),
            start.request_id.clone(),
            log,
        );
        let slot = self.registry.reserve(generation)?;
        let (reply, stored) = oneshot::channel();
        let reply = Reply {
            to: reply,
            _turn: turn,
        };
        self.tasks.spawn_local(run::run(
            self.clone(),
            upstream.clone(),
            slot,
            start,
            started,
            reply,
        ));
        stored.await.unwrap_or(Err(StartError::Died))
    }

    /// Ends it as `stopped` and waits until that is stored; one that has ended already stays as it is. Same answer when repeated.
    pub async fn stop(
        &self,
        user: UserId,
        id: GenerationId,
    ) -> Result<Option<GenerationRecord>, ChatError> {
        match self.find(user, id).await? {
            Some(Found::Elsewhere(_)) => return Err(ChatError::Elsewhere),
            Some(Found::Live(generation)) => self.end_one(&generation).await,
            _ => {}
        }
        self.generation(user, id).await
    }

    /// An operator's stop: of anybody's running generation. `None` when it is not running.
    pub async fn stop_any(&self, id: GenerationId) -> Option<GenerationRecord> {
        let generation = self
            .registry
            .running()
            .into_iter()
            .find(|generation| generation.id == id)?;
        self.end_one(&generation).await;
        generation.record()
    }

    async fn end_one(&self, generation: &Generation) {
        generation.end(Outcome::Stopped);
        generation.log.closed().await;
    }

    /// Asks the process to drain and to end, as SIGTERM does. From here on no generation starts.
    pub fn ask_to_drain(&self) {
        self.registry.refuse_generations();
        self.drain_asked.cancel();
    }

    /// Resolves when somebody asked for it.
    pub async fn asked_to_drain(&self) {
        self.drain_asked.cancelled().await;
    }

    /// Ends everything in order: no new generations, those that run get `grace` to finish and are `interrupted` then, and only when
    /// their ends are stored the emitters go. `hurry` resolving cuts the grace short.
    pub async fn drain(&self, grace: Duration, hurry: impl Future<Output = ()>) {
        self.registry.refuse_generations();
        self.no_more_titles.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = hurry => {}
        }
        for generation in self.registry.running() {
            generation.end(Outcome::Interrupted);
        }
        let _ = timeout(
            self.options.store_patience + Duration::from_secs(2),
            self.tasks.wait(),
        )
        .await;
        self.registry.shut_out_emitters();
        let _ = timeout(Duration::from_secs(1), self.registry.no_emitters()).await;
    }
}

impl Start {
    fn new_turn(&self, started: &Started, lease: Lease) -> NewTurn {
        let of = match &self.ask {
            Ask::Prompt {
                conversation_id,
                parent,
                content,
            } => TurnOf::Prompt {
                conversation_id: *conversation_id,
                user_message_id: started.user_message_id.unwrap_or_else(MessageId::new),
                parent: *parent,
                content: content.clone(),
            },
            Ask::Regenerate { message_id } => TurnOf::Regenerate {
                message_id: *message_id,
            },
            Ask::Continue { .. } => TurnOf::Continue,
        };
        NewTurn {
            generation_id: started.generation_id,
            message_id: started.message_id,
            lease,
            model: self.model.clone(),
            of,
        }
    }

    fn receipt(&self, started: &Started) -> Option<(&Once, Receipt)> {
        let body = serde_json::to_value(started).expect("ids are JSON");
        self.once.as_ref().map(|once| {
            (
                once,
                Receipt {
                    location: started.location(),
                    body,
                },
            )
        })
    }
}
