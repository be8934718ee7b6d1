//! A database of a test's own, and the few words in which the tests speak.

use crate::database::with_database;
use continuo::{event::EventSegment, model::*, store::*};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::{sync::Arc, time::Duration};

/// The node that runs what a test does not say otherwise of.
pub const NODE: NodeId = NodeId(uuid::Uuid::from_u128(7));
/// Its lease, which every test begins with.
pub const PRESENT: Lease = Lease {
    node: NODE,
    epoch: 1,
};
/// Longer than any test.
pub const LONG: Duration = Duration::from_hours(1);

pub struct Scratch {
    pub store: Arc<dyn Store>,
    pub url: String,
}

impl Scratch {
    /// As another process would see the database.
    pub async fn open_again(&self) -> Arc<dyn Store> {
        open(&self.url, &StoreOptions::default()).await.unwrap()
    }

    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// What one statement reads, behind the store's back.
    pub async fn number(&self, sql: &'static str) -> i64 {
        if self.is_postgres() {
            let mut server = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql)
                .fetch_one(&mut server)
                .await
                .unwrap()
        } else {
            let mut file = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut file).await.unwrap()
        }
    }

    /// Changes the database behind the store's back.
    pub async fn tamper(&self, postgres: &'static str, sqlite: &'static str) {
        if self.is_postgres() {
            let mut server = PgConnection::connect(&self.url).await.unwrap();
            server.execute(postgres).await.unwrap();
        } else {
            let mut file = SqliteConnection::connect(&self.url).await.unwrap();
            file.execute(sqlite).await.unwrap();
        }
    }
}

pub async fn on_sqlite(fact: impl AsyncFnOnce(&Scratch)) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("chat.db").display());
    run(url, fact).await;
}

pub async fn on_postgres(fact: impl AsyncFnOnce(&Scratch)) {
    with_database(async |url| run(url, fact).await).await;
}

async fn run(url: String, fact: impl AsyncFnOnce(&Scratch)) {
    let store = open(&url, &StoreOptions::default()).await.unwrap();
    store.take_lease(NODE, LONG).await.unwrap();
    let db = Scratch { store, url };
    fact(&db).await;
    db.store.close().await;
}

/// Waits until the clock has moved on: two changes in one millisecond have no order.
pub async fn later() {
    let before = now();
    while now() <= before {
        tokio::task::yield_now().await;
    }
}

pub async fn user(store: &dyn Store, name: &str) -> UserId {
    store.add_user(name, false).await.unwrap().unwrap().id
}

pub async fn conversation(store: &dyn Store, owner: UserId, title: &str) -> ConversationId {
    let new = NewConversation {
        id: ConversationId::new(),
        title: title.to_owned(),
        model: None,
        system: None,
        sampling: Sampling::default(),
        created_at: now(),
    };
    match store.create_conversation(owner, &new, None).await.unwrap() {
        Effect::Done(made) => made.id,
        other => panic!("{other:?}"),
    }
}

pub fn prompt(conversation_id: ConversationId, parent: Parent, content: &str) -> NewTurn {
    turn(TurnOf::Prompt {
        conversation_id,
        user_message_id: MessageId::new(),
        parent,
        content: content.to_owned(),
    })
}

pub fn turn(of: TurnOf) -> NewTurn {
    NewTurn {
        generation_id: GenerationId::new(),
        message_id: MessageId::new(),
        lease: PRESENT,
        model: None,
        of,
    }
}

pub async fn begin(store: &dyn Store, owner: UserId, new: &NewTurn) -> Turn {
    match store.begin_turn(owner, new, None).await.unwrap() {
        Ok(Effect::Done(turn)) => turn,
        other => panic!("{other:?}"),
    }
}

pub async fn refused(store: &dyn Store, owner: UserId, new: &NewTurn) -> TurnRefused {
    store
        .begin_turn(owner, new, None)
        .await
        .unwrap()
        .unwrap_err()
}

/// A question below the head and its finished answer.
pub async fn exchange(
    store: &dyn Store,
    owner: UserId,
    conversation: ConversationId,
    question: &str,
    answer: &str,
) -> NewTurn {
    let new = prompt(conversation, Parent::Head, question);
    begin(store, owner, &new).await;
    end(store, &new, answer).await;
    new
}

pub async fn end(store: &dyn Store, turn: &NewTurn, answer: &str) {
    let ended = store
        .end_generation(turn.generation_id, &ending(answer), &[])
        .await;
    assert!(ended.unwrap());
}

pub fn ending(content: &str) -> Ending {
    Ending {
        outcome: Outcome::Completed,
        content: content.to_owned(),
        reasoning: None,
        tool_calls: None,
        model: None,
        finish_reason: Some("stop".into()),
        usage: None,
        timings: Timings {
            first_token_ms: Some(1),
            thinking_ms: None,
            total_ms: 2,
        },
        problem: None,
        last_seq: 3,
        leaves_message: false,
    }
}

pub fn user_message(turn: &NewTurn) -> MessageId {
    match turn.of {
        TurnOf::Prompt {
            user_message_id, ..
        } => user_message_id,
        TurnOf::Regenerate { .. } | TurnOf::Continue | TurnOf::Exchange(_) => panic!("no prompt"),
    }
}

pub fn once(key: &str, fingerprint: u8) -> Once {
    Once {
        key: key.to_owned(),
        fingerprint: [fingerprint; 32].into(),
    }
}

pub fn receipt(location: &dyn std::fmt::Display) -> Receipt {
    Receipt {
        location: location.to_string(),
        body: json!({"location": location.to_string(), "nested": [1, null, {"deep": "é🙂"}]}),
    }
}

pub async fn messages(
    store: &dyn Store,
    owner: UserId,
    conversation: ConversationId,
) -> Vec<Message> {
    let read = store.conversation(owner, conversation).await.unwrap();
    read.unwrap().1
}

pub async fn read(store: &dyn Store, owner: UserId, conversation: ConversationId) -> Conversation {
    let read = store.conversation(owner, conversation).await.unwrap();
    read.unwrap().0
}

pub async fn list(
    store: &dyn Store,
    owner: UserId,
    text: Option<&str>,
    after: Option<ListCursor>,
    limit: u32,
) -> Vec<Listed> {
    let query = ListQuery {
        text: text.map(str::to_owned),
        after,
        limit,
    };
    store.list_conversations(owner, &query).await.unwrap()
}

/// It was not this lease's to write: it waits for another.
pub fn is_fenced(appended: &Result<(), StoreError>) {
    assert!(
        matches!(appended, Err(StoreError::Unavailable(_))),
        "{appended:?}"
    );
}

pub fn under(lease: Lease, new: NewTurn) -> NewTurn {
    NewTurn { lease, ..new }
}

/// The end of a generation that somebody found left over.
pub fn lost(content: &str) -> Ending {
    Ending {
        outcome: Outcome::Interrupted,
        finish_reason: None,
        problem: Some(Problem::new(503, "interrupted", "Interrupted", "try again")),
        last_seq: LOST_POSITIONS,
        ..ending(content)
    }
}

/// Events whose text says where they stand.
pub fn segment(turn: &NewTurn, first_seq: u64, last_seq: u64) -> EventSegment {
    let line = |seq| format!("delta {{\"text\":\"{seq} \"}}\n");
    EventSegment {
        generation_id: turn.generation_id,
        first_seq,
        last_seq,
        frames: (first_seq..=last_seq).map(line).collect(),
    }
}

pub async fn recorded(store: &dyn Store, turn: &NewTurn) -> Vec<EventSegment> {
    store.events(turn.generation_id, 0).await.unwrap()
}

pub async fn stored(store: &dyn Store, owner: UserId, turn: &NewTurn) -> StoredGeneration {
    let stored = store.generation(owner, turn.generation_id).await.unwrap();
    stored.unwrap()
}

/// More of the answer that `turn` asked for.
pub fn continuing(earlier: &NewTurn) -> NewTurn {
    NewTurn {
        message_id: earlier.message_id,
        ..turn(TurnOf::Continue)
    }
}
