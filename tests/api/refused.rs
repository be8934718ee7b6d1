//! What the database refuses for good: it costs nothing else, and nothing seems to be running because of it.

use crate::support::{
    app::{TestApp, Turn, send, spawn_app},
    events::Reader,
};
use continuo::{
    event::EventSegment,
    model::{GenerationId, MessageId},
    store::{NewTurn, Parent, TurnOf},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

/// The database refuses messages with this word for good.
async fn refuse(app: &TestApp, word: &str) {
    let url = format!("sqlite://{}", app.data().join("continuo.sqlite3").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the database");
    let sql = format!(
        "CREATE TRIGGER refused BEFORE UPDATE ON messages WHEN NEW.content LIKE '%{word}%'
         BEGIN SELECT RAISE(ABORT, 'refused'); END"
    );
    connection
        .execute(sqlx::AssertSqlSafe(sql))
        .await
        .expect("a trigger");
}

#[tokio::test]
async fn a_left_over_answer_that_the_database_refuses_holds_up_neither_a_start_nor_the_others() {
    let mut app = spawn_app().await;
    let mut turns = Vec::new();
    for text in ["poison", "Hel"] {
        let turn = left_over(&app, text).await;
        turns.push(turn);
    }
    refuse(&app, "poison").await;
    app.shut_down().await;
    let app = app.again().await;
    for (turn, status, text) in [(&turns[0], "failed", ""), (&turns[1], "interrupted", "Hel")] {
        let message = app.owner.message(turn).await;
        assert_eq!(
            (&message["status"], &message["content"]),
            (&json!(status), &json!(text))
        );
    }
    app.end().await;
}

/// An answer that the store calls running and that nobody runs, as far as this text.
async fn left_over(app: &TestApp, text: &str) -> Turn {
    let conversation = app.owner.conversation().await;
    let lease = app.chat.recorder.lease();
    let new = NewTurn {
        generation_id: GenerationId::new(),
        message_id: MessageId::new(),
        lease,
        model: None,
        of: TurnOf::Prompt {
            conversation_id: conversation.parse().expect("an id"),
            user_message_id: MessageId::new(),
            parent: Parent::Root,
            content: "hello".to_owned(),
        },
    };
    let store = &app.chat.store;
    let owner = store.users().await.expect("users")[0].id;
    let begun = store.begin_turn(owner, &new, None).await.expect("stored");
    assert!(begun.is_ok(), "{begun:?}");
    let said = EventSegment {
        generation_id: new.generation_id,
        first_seq: 1,
        last_seq: 1,
        frames: format!("delta {}\n", json!({ "text": text })),
    };
    let appended = store.append_events(lease, &[said]).await;
    appended.expect("recorded");
    Turn {
        generation: new.generation_id.to_string(),
        message: new.message_id.to_string(),
        conversation,
    }
}

#[tokio::test]
async fn an_answer_whose_continuation_the_database_refuses_keeps_the_text_it_had() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    events.read_until(&mut Reader::default(), 3).await;
    app.owner.stop(&turn).await;
    call.closed().await;
    refuse(&app, "poison").await;
    let path = format!("/api/messages/{}/continue", turn.message);
    let next = Turn::started(&turn.conversation, send(app.owner.post(&path)).await).await;
    let mut call = app.upstream.next_call().await;
    call.answer(&["poison"]).await;
    let reader = app.owner.read_all(&next).await;
    assert_eq!(reader.done.expect("the end")["stored"], false);
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("stopped"), &json!("Hel"))
    );
    app.end().await;
}
