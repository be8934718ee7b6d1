//! The promises on the production store: one story from a question to a search, on a fresh database.

use super::conversations::{create, id};
use crate::support::{
    app::{Turn, problem, send, spawn_app_with},
    database::with_database,
    events::Reader,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn resume_stop_twins_and_search_work_on_postgres() {
    with_database(async |url| {
        let app = spawn_app_with(&[("store.url", &url), ("log.retain_bytes", "0")]).await;
        let conversation = id(&create(&app.owner, json!({"title": "中文"})).await).to_owned();

        // A reader is cut and resumes exactly; what is stored is what was streamed.
        let first = app
            .owner
            .ask(&conversation, "请问怎么做红烧肉？\u{0}")
            .await;
        let mut call = app.upstream.next_call().await;
        call.head_sse().await;
        let mut reader = Reader::default();
        let mut events = app.owner.events(&first, 0).await;
        call.send("先把五花肉").await;
        events.read_until(&mut reader, 15).await;
        drop(events);
        call.send("切成块。\u{0}😀").await;
        let mut events = app.owner.events(&first, reader.position).await;
        call.finish("stop").await;
        call.usage(3, 5).await;
        call.done().await;
        events.read_to_end(&mut reader).await;
        assert_eq!(reader.text, "先把五花肉切成块。\u{fffd}😀");
        let message = app.owner.message(&first).await;
        assert_eq!(message["content"], reader.text.as_str());
        assert_eq!(
            message["usage"],
            json!({"prompt_tokens": 3, "completion_tokens": 5})
        );
        app.nothing_in_memory().await;
        let late = app.owner.read_all(&first).await;
        assert_eq!(
            (late.text.as_str(), late.done),
            (reader.text.as_str(), reader.done)
        );

        // Twins start once, and a stop keeps what came.
        let twins: Vec<_> = (0..10)
            .map(|_| {
                let request = app
                    .owner
                    .say(&conversation, &json!({"content": "Und dann?"}));
                tokio::spawn(send(request.header("idempotency-key", "twin")))
            })
            .collect();
        let mut turns = Vec::new();
        for twin in twins {
            let response = twin.await.expect("no panic");
            turns.push(Turn::started(&conversation, response).await);
        }
        let turn = turns.pop().expect("ten");
        assert!(
            turns
                .iter()
                .all(|other| other.generation == turn.generation)
        );
        let mut call = app.upstream.next_call().await;
        call.head_sse().await;
        call.send("Äpfel").await;
        let mut events = app.owner.events(&turn, 0).await;
        events.read_until(&mut Reader::default(), 6).await;
        assert_eq!(app.owner.stop(&turn).await["status"], "stopped");
        call.closed().await;
        drop(events);
        assert!(app.upstream.waiting_call().is_none());
        assert_eq!(app.owner.message(&turn).await["content"], "Äpfel");

        for words in ["烧肉", "五花", "äPFEL", "dann%20中文"] {
            let list = app
                .owner
                .get_json(&format!("/api/conversations?q={words}"))
                .await;
            assert_eq!(list["items"][0]["id"], conversation.as_str(), "{words}");
            assert!(list["items"][0]["snippet"].is_string());
        }
        let list = app.owner.get_json("/api/conversations?q=nothing").await;
        assert_eq!(list, json!({"items": []}));

        // Another user's is not there.
        let stranger = app.stranger().await;
        let path = format!("/api/conversations/{conversation}");
        problem(send(stranger.get(&path)).await, 404, "not-found").await;
        problem(send(stranger.get(&turn.events())).await, 404, "not-found").await;
        app.end().await;
    })
    .await;
}
