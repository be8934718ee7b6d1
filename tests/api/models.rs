//! The models that can be asked for.

use crate::support::{
    app::{problem, send, spawn_app, spawn_app_with},
    fake_upstream::MODEL,
};
use reqwest::Method;
use serde_json::json;

const MODELS: &str = "/api/models";

#[tokio::test]
async fn what_the_upstream_lists_is_listed_and_the_first_is_the_default() {
    let app = spawn_app().await;
    app.upstream
        .set_models(Some(&["", " ", "one", "two", "one"]));
    let models = app.owner.get_json(MODELS).await;
    assert_eq!(
        models,
        json!({"items": [{"id": "one"}, {"id": "two"}], "default": "one"})
    );
    // Asked for once: by whoever comes first, and for answers too.
    app.upstream.set_models(Some(&["other"]));
    assert_eq!(app.owner.get_json(MODELS).await, models);
    let (turn, mut call) = app.asked().await;
    assert_eq!(call.json()["model"], "one");
    call.answer(&["Hi"]).await;
    app.owner.read_all(&turn).await;
    problem(
        send(app.nobody(Method::GET, MODELS)).await,
        401,
        "unauthorized",
    )
    .await;
    app.end().await;
}

#[tokio::test]
async fn the_configured_model_is_the_default_and_a_long_list_is_cut() {
    let app = spawn_app_with(&[("upstream.model", "mine")]).await;
    let many: Vec<String> = (0..1500).map(|n| format!("model-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    app.upstream.set_models(Some(&many));
    let models = app.owner.get_json(MODELS).await;
    let items = models["items"].as_array().expect("rows");
    assert_eq!(
        (items.len(), &items[999]["id"]),
        (1000, &json!("model-999"))
    );
    assert_eq!(
        (&models["default"], &models["problem"]),
        (&json!("mine"), &json!(null))
    );
    app.end().await;
}

#[tokio::test]
async fn an_upstream_without_a_list_says_why_and_is_asked_again() {
    let app = spawn_app().await;
    app.upstream.set_models(None);
    let (models, ()) = tokio::join!(app.owner.get_json(MODELS), async {
        let mut call = app.upstream.next_call().await;
        assert_eq!((&*call.method, &*call.path), ("GET", "/v1/models"));
        let body = json!({"error": {"message": "no such thing here"}});
        call.reply_json(404, &body).await;
    });
    assert_eq!(
        (&models["items"], &models["default"]),
        (&json!([]), &json!(null))
    );
    let problem = &models["problem"];
    assert_eq!(
        (&problem["type"], &problem["status"]),
        (&json!("/problems/upstream-refused"), &json!(404))
    );
    assert_eq!(problem["detail"], "no such thing here");
    assert!(problem["instance"].is_string());

    let (models, ()) = tokio::join!(app.owner.get_json(MODELS), async {
        let mut call = app.upstream.next_call().await;
        call.reply(200, &[("content-type", "text/html")], "<html>")
            .await;
    });
    assert_eq!(models["problem"]["type"], "/problems/upstream-unreadable");
    app.upstream.set_models(Some(&[]));
    let models = app.owner.get_json(MODELS).await;
    assert_eq!(models["problem"]["type"], "/problems/no-models");
    app.upstream.set_models(Some(&[MODEL]));
    let models = app.owner.get_json(MODELS).await;
    assert_eq!(models, json!({"items": [{"id": MODEL}], "default": MODEL}));
    app.end().await;
}

#[tokio::test]
async fn an_upstream_that_is_down_or_hangs_is_said_to_be() {
    let app = spawn_app_with(&[("upstream.model", "mine")]).await;
    app.upstream.set_models(None);
    // Nobody answers it. The next one does not wait as long: that there is no list is known by then.
    let models = app.owner.get_json(MODELS).await;
    assert_eq!(models["problem"]["type"], "/problems/upstream-late");
    assert_eq!(models["default"], "mine");
    app.upstream.set_models(Some(&[MODEL]));
    assert_eq!(app.owner.get_json(MODELS).await["items"], json!([]));
    app.end().await;

    let app = spawn_app().await;
    app.upstream.stop_listening().await;
    let models = app.owner.get_json(MODELS).await;
    assert_eq!(models["problem"]["type"], "/problems/upstream-unreachable");
    assert_eq!(
        (&models["items"], &models["default"]),
        (&json!([]), &json!(null))
    );
    app.end().await;
}
