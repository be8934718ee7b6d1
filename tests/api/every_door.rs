//! What stands before every door: made from the contract, so that a path that is added is walked here too.

use crate::{
    contract::{Contract, nowhere},
    matrix::{World, body},
    support::{
        app::{Account, TestApp, send, spawn_app_with},
        tls::Certificate,
    },
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// What a browser says of a request that a page of another origin sent.
const FOREIGN: [(&str, &str); 5] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
    ("origin", "null"),
    ("origin", "http://127.0.0.1:1"),
    ("origin", "http://evil.example"),
];
const UNSAFE: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Of the page, and of nothing.
const FILES: [&str; 5] = [
    "/",
    "/favicon.ico",
    "/assets/0/app.js",
    "/nothing",
    "/v1/nothing",
];

fn operator_if_needed<'a>(world: &'a World, path: &str) -> &'a Account {
    if path.starts_with("/api/operator/") {
        &world.app.owner
    } else {
        &world.user
    }
}

fn method(name: &str) -> Method {
    name.to_uppercase().parse().expect("a method")
}

/// Everything that a request could have changed.
async fn facts(world: &World) -> Vec<Value> {
    let (user, owner) = (&world.user, &world.app.owner);
    let mut facts = Vec::new();
    for account in [user, owner] {
        for path in ["/api/conversations", "/api/keys", "/api/sessions"] {
            facts.push(account.get_json(path).await);
        }
        for conversation in facts[facts.len() - 3]["items"]
            .as_array()
            .cloned()
            .expect("a list")
        {
            let id = conversation["id"].as_str().expect("an id");
            facts.push(account.read(id).await);
        }
    }
    for path in [
        "/api/operator/users",
        "/api/operator/generations",
        "/readyz",
    ] {
        facts.push(owner.get_json(path).await);
    }
    let emitters = owner.get_json("/api/operator/emitters").await;
    facts.push(json!([emitters["opened"], emitters["closed"]]));
    for fact in &mut facts {
        let items = fact.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            // By those who look.
            for name in ["last_used_at", "last_seen_at"] {
                item.as_object_mut().expect("an object").remove(name);
            }
        }
    }
    facts
}

#[tokio::test]
async fn no_page_of_another_origin_gets_anything_changed_at_any_door() {
    let world = World::new().await;
    let contract = Contract::of(&world.app).await;
    let mut doors = Vec::new();
    for (template, verb, operation) in contract.operations() {
        if !["get", "head"].contains(&verb) {
            let (path, lives) = world.path(template).await;
            let sent = match template {
                // What would change something.
                "/api/operator/users/{id}" => Some(json!({"operator": true})),
                _ => body(&world, &format!("{verb} {template}"), operation, 0),
            };
            doors.push((method(verb), path, sent, lives));
        }
    }
    assert!(doors.len() > 20, "{}", doors.len());
    world.quiet().await;
    world.app.nothing_runs().await;
    world.app.caught_up().await;
    let before = facts(&world).await;
    let mut wrong = Vec::new();
    for (method, path, sent, _) in &doors {
        for (name, value) in FOREIGN {
            let account = operator_if_needed(&world, path);
            let mut request = account.request(method.clone(), path).header(name, value);
            if let Some(body) = sent {
                request = request.json(body);
            }
            check(&mut wrong, request, path).await;
        }
    }
    for path in FILES {
        for method in UNSAFE {
            for (name, value) in FOREIGN {
                let request = world.user.request(method.clone(), path);
                check(&mut wrong, request.header(name, value), path).await;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let after = facts(&world).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
    drop(doors);
    world.app.end().await;
}

async fn check(wrong: &mut Vec<String>, request: RequestBuilder, path: &str) {
    let response = send(request).await;
    let (status, text) = (response.status(), response.text().await.expect("a body"));
    let named = if path.starts_with("/v1/") {
        "cross_site"
    } else {
        "/problems/cross-site"
    };
    if status != 403 || !text.contains(named) {
        wrong.push(format!("{path}: {status} {text}"));
    }
}

/// Each path that there is and one that is not, with a method that it has.
fn doors(contract: &Contract) -> Vec<(Method, String)> {
    let operations = contract.operations().into_iter();
    let operations = operations.map(|(template, verb, _)| (method(verb), nowhere(template)));
    let files = FILES.map(|path| (Method::GET, path.to_owned()));
    operations.chain(files).collect()
}

#[tokio::test]
async fn no_door_opens_under_a_foreign_name() {
    let app = spawn_app_with(&[("upstream.url", "")]).await;
    let doors = doors(&Contract::of(&app).await);
    for (method, path) in &doors {
        for host in ["evil.example", "127.0.0.1.evil.example:80", ""] {
            let request = app.owner.request(method.clone(), path).header("host", host);
            let response = send(request).await;
            assert_eq!(response.status(), 421, "{method} {path} at {host:?}");
        }
    }
    app.end().await;
}

#[tokio::test]
async fn no_door_opens_under_a_foreign_name_over_http_2() {
    let certificate = Certificate::new();
    let app = certificate.app(&[("upstream.url", "")]).await;
    let mut http = certificate.http2(&app.origin).await;
    let bearer = format!("Bearer {}", app.owner.key);
    let authority = app.origin.strip_prefix("https://").expect("TLS").to_owned();
    let document = http.get("/api/openapi.json", "").await.json().await;
    http.ask_of("evil.example");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for verb in operations.as_object().expect("methods").keys() {
            // What is asked of is what the request line of HTTP/2 says, whatever else there is.
            for more in [&[][..], &[("host", &*authority)]] {
                let mut headers = vec![("authorization", &*bearer)];
                headers.extend(more);
                let answer = http
                    .answer(&verb.to_uppercase(), &nowhere(path), &headers, None)
                    .await;
                assert_eq!(answer.status, 421, "{verb} {path}");
                let headers = answer.headers.iter();
                guarded(
                    headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
                    path,
                );
            }
        }
    }
    end(app).await;
}

async fn end(mut app: TestApp) {
    app.no_emitters().await;
    app.nothing_runs().await;
    app.shut_down().await;
}

/// What every answer tells a browser.
fn guarded<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>, what: &str) {
    let headers: Vec<_> = headers.collect();
    let is = |name: &str| {
        let named = headers.iter().filter(|(found, _)| *found == name);
        let values: Vec<_> = named.collect();
        assert_eq!(values.len(), 1, "{what}: {name}");
        str::from_utf8(values[0].1).expect("ASCII")
    };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(is(name), value, "{what}: {name}");
    }
    let policy = is("content-security-policy");
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(directives.contains(&directive), "{what}: {policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{what}: {policy}"
    );
    is("x-request-id");
    for name in ["server", "x-powered-by", "access-control-allow-origin"] {
        let is_there = headers.iter().any(|(found, _)| *found == name);
        assert!(!is_there, "{what}: {name}");
    }
}

fn guarded_response(response: &Response, what: &str) {
    let headers = response.headers().iter();
    guarded(
        headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
        what,
    );
}

fn guarded_as(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status(), status, "{what}");
    guarded_response(response, what);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_do_nothing_with_it() {
    let app = spawn_app_with(&[("upstream.url", "")]).await;
    let contract = Contract::of(&app).await;
    for (method, path) in doors(&contract) {
        let what = format!("{method} {path}");
        let refused = app.owner.request(method.clone(), &path);
        let refused = send(refused.header("host", "evil.example")).await;
        guarded_as(&refused, 421, &what);
        let refused = app.owner.post(&path).header("origin", "null");
        guarded_as(&send(refused).await, 403, &what);
        let refused = send(app.owner.request(Method::PUT, &path)).await;
        let is_a_path = !path.ends_with("/nothing");
        guarded_as(&refused, if is_a_path { 405 } else { 404 }, &what);
        for method in [Method::HEAD, Method::OPTIONS] {
            let response = send(app.owner.request(method, &path)).await;
            guarded_response(&response, &what);
        }
        let response = send(app.nobody(method.clone(), &path)).await;
        guarded_response(&response, &what);
        // What it is for, or that there is nothing of this id, or that its body is wanted. Streams are left at their head.
        let is_the_end = path.ends_with("/drain");
        if !is_the_end {
            let response = send(app.owner.request(method, &path)).await;
            guarded_response(&response, &what);
        }
    }
    let conversation = app.owner.conversation().await;
    let turn = app.owner.ask(&conversation, "hello").await;
    let response = send(app.owner.get(&turn.events())).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    guarded_as(&response, 200, "a stream");
    app.owner.stop(&turn).await;
    let asked = json!({"stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let response = send(app.owner.post("/v1/chat/completions").json(&asked)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    guarded_as(&response, 200, "a stream of payloads");
    drop(response);
    for kind in ["json", "markdown"] {
        let path = format!("/api/conversations/{conversation}/export?format={kind}");
        guarded_as(&send(app.owner.get(&path)).await, 200, kind);
    }
    let page = send(app.nobody(Method::GET, "/")).await.text().await;
    let page = page.expect("a page");
    let assets: Vec<_> = page
        .split('"')
        .filter(|it| it.starts_with("/assets/"))
        .collect();
    assert!(!assets.is_empty(), "{page}");
    for path in assets {
        guarded_as(&send(app.nobody(Method::GET, path)).await, 200, path);
    }
    let drained = send(app.owner.post("/api/operator/drain")).await;
    guarded_as(&drained, 202, "a drain");
    let mut app = app;
    app.served().await;
}
