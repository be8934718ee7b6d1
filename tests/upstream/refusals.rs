//! Another status than 200 keeps its meaning: the status, the provider's own words, and when to come back.

use crate::{KEY, Read, ask, fake_upstream::FakeUpstream, options};
use continuo::upstream::{Failure, Upstream};
use serde_json::json;
use std::time::{Duration, SystemTime};

async fn refused(status: u16, headers: &[(&str, &str)], body: &str) -> Read {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| call.reply(status, headers, body).await).await;
    assert_eq!(read.error().kind, Failure::Refused, "{read:?}");
    assert_eq!(read.error().status, Some(status));
    assert!(fake.waiting_call().is_none(), "tried again");
    assert_eq!(fake.connections(), 1);
    read
}

#[actix_web::test]
async fn too_many_requests_say_when_to_come_back_and_are_not_tried_again() {
    for (headers, expected) in [
        (vec![("retry-after", "7")], Some(7.0)),
        (
            vec![("retry-after", "7"), ("retry-after-ms", "6900")],
            Some(6.9),
        ),
        (vec![("x-ratelimit-reset-tokens", "6m0s")], Some(360.0)),
        (vec![("x-ratelimit-reset-requests", "7s")], Some(7.0)),
        (vec![("x-ratelimit-reset-requests", "7")], Some(7.0)),
        (vec![], None),
    ] {
        let read = refused(
            429,
            &headers,
            r#"{"error":{"message":"Rate limit reached"}}"#,
        )
        .await;
        assert_eq!(read.error().message, "Rate limit reached");
        let told = read.error().retry_after.map(|after| after.as_secs_f64());
        assert_eq!(told, expected, "{headers:?}");
    }
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(1));
    let read = refused(503, &[("retry-after", &date)], "").await;
    let told = read.error().retry_after.expect("a time");
    assert!((3000..=3600).contains(&told.as_secs()), "{told:?}");
}

#[actix_web::test]
async fn a_refusal_on_a_kept_connection_is_not_tried_again() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    upstream.models().await.unwrap();
    let request = crate::request();
    let (result, ()) = tokio::join!(upstream.stream(&request), async {
        fake.next_call().await.reply_429("3").await;
    });
    let error = result.err().expect("refused");
    assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    assert!(fake.waiting_call().is_none());
}

#[actix_web::test]
async fn the_providers_words_or_the_status_are_told() {
    for (status, body, expected) in [
        (
            400,
            json!({"error": {"message": "bad model"}}).to_string(),
            "bad model",
        ),
        (
            404,
            json!({"error": "model 'x' not found"}).to_string(),
            "model 'x' not found",
        ),
        (401, json!({"message": "no entry"}).to_string(), "no entry"),
        (
            422,
            json!({"detail": [{"msg": "field required"}]}).to_string(),
            "field required",
        ),
        (
            502,
            "<html><h1>502</h1></html>".to_owned(),
            "the upstream answered 502 Bad Gateway",
        ),
        (502, String::new(), "the upstream answered 502 Bad Gateway"),
        (
            404,
            "404 page not found\n".to_owned(),
            "the upstream answered 404 Not Found: 404 page not found",
        ),
        (
            400,
            json!({"error": "a\u{1b}[0m\r\nb\u{0}c"}).to_string(),
            "a [0m b c",
        ),
        (599, String::new(), "the upstream answered 599"),
    ] {
        assert_eq!(refused(status, &[], &body).await.error().message, expected);
    }
}

#[actix_web::test]
async fn a_provider_that_repeats_the_key_does_not_make_us_show_it() {
    let body =
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}.")}}).to_string();
    let read = refused(401, &[], &body).await;
    assert_eq!(read.error().message, "Incorrect API key provided: ….");
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.head_sse().await;
        call.send_json(&json!({"error": format!("who is {KEY}?")}))
            .await;
    });
    assert_eq!(read.await.error().message, "who is …?");
    assert!(!format!("{:?}", options(&fake)).contains(KEY));
}

#[actix_web::test]
async fn an_endless_error_body_is_read_to_its_limit() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.head(500, &[("transfer-encoding", "chunked")]).await;
        while call.send_raw(vec![b'x'; 16 * 1024]).await {}
        call.closed().await;
    });
    let read = read.await;
    assert_eq!(read.error().kind, Failure::Refused);
    assert!(
        read.error().message.chars().count() <= 2001,
        "{}",
        read.error().message.len()
    );
}

#[actix_web::test]
async fn a_redirect_is_not_followed() {
    let other = FakeUpstream::start().await;
    let location = format!("{}/chat/completions?token=secret", other.base_url());
    for status in [301, 302, 303, 307, 308] {
        let read = refused(status, &[("location", &location)], "").await;
        let message = &read.error().message;
        assert!(
            message.contains("redirects to http://127.0.0.1") && !message.contains("secret"),
            "{message}"
        );
    }
    assert_eq!(other.connections(), 0);
}

#[actix_web::test]
async fn an_answer_that_is_not_http_is_unreadable() {
    let fake = FakeUpstream::start().await;
    let read = ask(&fake, async |call| {
        call.write(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    });
    assert_eq!(read.await.error().kind, Failure::Unreadable);
}

#[actix_web::test]
async fn models_are_listed_in_order_and_their_errors_kept() {
    let fake = FakeUpstream::start().await;
    let upstream = Upstream::new(&options(&fake));
    fake.set_models(Some(&["b", "a"]));
    assert_eq!(upstream.models().await.unwrap(), ["b", "a"]);
    fake.set_models(None);
    for (status, body, kind) in [
        (401, r#"{"error":"no"}"#, Failure::Refused),
        (200, "<html>", Failure::Unreadable),
        (200, r#"{"data":7}"#, Failure::Unreadable),
        (200, "", Failure::Unreadable),
    ] {
        let (models, ()) = tokio::join!(upstream.models(), async {
            let mut call = fake.next_call().await;
            assert_eq!((&*call.method, &*call.path), ("GET", "/v1/models"));
            assert_eq!(call.headers["authorization"], format!("Bearer {KEY}"));
            call.reply(status, &[], body).await;
        });
        assert_eq!(models.unwrap_err().kind, kind, "{body}");
    }
}
