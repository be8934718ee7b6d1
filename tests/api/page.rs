//! Promise: the page allows nothing but itself, and its files come small and are kept for ever.

use super::support::{
    app::{TestApp, problem, send, spawn_app},
    raw::Raw,
};
use flate2::read::GzDecoder;
use reqwest::{Method, Response};
use std::io::Read as _;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn the_page_allows_nothing_but_itself_and_its_files_are_kept_for_ever() {
    let app = spawn_app().await;
    let response = send(app.nobody(Method::GET, "/")).await;
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(
        headers["content-security-policy"],
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
    assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
    let permissions = headers["permissions-policy"].to_str().expect("ASCII");
    for feature in ["camera", "geolocation", "microphone"] {
        assert!(
            permissions.contains(&format!("{feature}=()")),
            "{permissions}"
        );
    }
    let page = response.text().await.expect("a page");
    assert!(
        !page.contains("{{"),
        "every place in the template is filled"
    );
    let files: Vec<_> = page
        .split('"')
        .filter(|text| text.starts_with("/assets/"))
        .collect();
    assert!(
        files.iter().any(|file| file.ends_with("app.js")),
        "{files:?}"
    );
    for file in &files {
        let response = send(app.nobody(Method::GET, file)).await;
        assert_eq!(response.status(), 200, "{file}");
        let headers = response.headers();
        assert_eq!(headers["cache-control"], FOR_EVER);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let media_type = headers["content-type"].to_str().expect("ASCII");
        assert_ne!(media_type, "application/octet-stream", "{file}");
    }
    let hash = files[0].split('/').nth(2).expect("a hash");
    for path in [
        "/assets/0000000000000000/app.js".to_owned(),
        format!("/assets/{hash}/index.html"),
        format!("/assets/{hash}/nothing.js"),
        format!("/assets/{hash}/..%2f..%2fCargo.toml"),
        format!("/assets/{hash}/"),
    ] {
        problem(send(app.nobody(Method::GET, &path)).await, 404, "not-found").await;
    }
    app.end().await;
}

/// The page's script, whose name the page tells.
async fn script(app: &TestApp) -> String {
    let page = send(app.nobody(Method::GET, "/")).await;
    let page = page.text().await.expect("a page");
    let names = page.split('"');
    let mut scripts = names.filter(|name| name.ends_with("/app.js"));
    scripts.next().expect("a script").to_owned()
}

async fn accepting(app: &TestApp, path: &str, accept: Option<&str>) -> Response {
    let mut request = app.nobody(Method::GET, path);
    if let Some(accept) = accept {
        request = request.header("accept-encoding", accept);
    }
    send(request).await
}

#[tokio::test]
async fn the_page_and_its_files_come_in_the_coding_that_the_client_likes_best() {
    let app = spawn_app().await;
    for path in ["/", "/favicon.ico", &script(&app).await] {
        let plain = accepting(&app, path, None).await;
        let plain = plain.bytes().await.expect("a body");
        let mut lengths = Vec::new();
        for (accept, coding) in [
            (None, None),
            (Some(""), None),
            (Some("identity"), None),
            (Some("gzip, deflate, br, zstd"), Some("br")),
            (Some("gzip, deflate"), Some("gzip")),
            (Some("br;q=0.5, gzip"), Some("gzip")),
            (Some("gzip;q=0.1, br;q=0.2, identity;q=0.3"), None),
            (Some("gzip;q=0, br;q=0"), None),
            (Some("br;q=0, gzip;q=0.001"), Some("gzip")),
            (Some("BR"), Some("br")),
            (Some("GZip"), Some("gzip")),
            (Some("gzip, identity;q=0"), Some("gzip")),
            (Some("*"), None),
            (Some("zstd"), None),
            // Nothing that there is: the file as it is.
            (Some("zstd, identity;q=0"), None),
            (Some("*;q=0"), None),
            (Some("br;q=often"), None),
            (Some(",;=,"), None),
        ] {
            let response = accepting(&app, path, accept).await;
            assert_eq!(response.status(), 200);
            let headers = response.headers();
            assert_eq!(headers["vary"], "accept-encoding");
            let is = headers.get("content-encoding");
            let is = is.map(|coding| coding.to_str().expect("ASCII"));
            assert_eq!(is, coding, "{path} for {accept:?}");
            let length: usize = headers["content-length"]
                .to_str()
                .expect("ASCII")
                .parse()
                .expect("a number");
            let body = response.bytes().await.expect("a body");
            assert_eq!(body.len(), length);
            let mut decoded = Vec::new();
            match coding {
                Some("br") => {
                    brotli::BrotliDecompress(&mut &*body, &mut decoded).expect("brotli");
                }
                Some("gzip") => {
                    GzDecoder::new(&*body)
                        .read_to_end(&mut decoded)
                        .expect("gzip");
                }
                _ => decoded.extend(&body),
            }
            assert!(decoded == plain, "{path} for {accept:?}");
            lengths.push((coding, length));
        }
        let length = |coding| lengths.iter().find(|(is, _)| *is == coding).expect("one").1;
        let (br, gzip) = (length(Some("br")), length(Some("gzip")));
        assert!(
            br < gzip && gzip < plain.len(),
            "{path}: {br}, {gzip} of {}",
            plain.len()
        );
    }
    app.end().await;
}

#[tokio::test]
async fn head_tells_of_a_file_what_get_does_without_sending_it() {
    let app = spawn_app().await;
    let script = script(&app).await;
    for path in ["/", &script, "/favicon.ico"] {
        for accept in ["accept-encoding: br", "accept-encoding: gzip", "x: y"] {
            let mut raw = Raw::connect(&app.origin).await;
            raw.head("HEAD", path, &[accept]).await;
            let mut told = raw.answer_head().await;
            // On the same connection: a body behind that head would be taken for this one's.
            raw.head("GET", path, &[accept]).await;
            let mut sent = raw.answer().await;
            assert_eq!((told.status, sent.status), (200, 200), "{path}");
            assert_eq!(sent.headers["content-length"], sent.body.len().to_string());
            for answer in [&mut told, &mut sent] {
                for own in ["date", "x-request-id"] {
                    answer.headers.remove(own);
                }
            }
            assert_eq!(told.headers, sent.headers, "{path} {accept}");
        }
    }
    app.end().await;
}

/// A browser says nothing of itself (`Sec-Fetch-Mode`) to a plain HTTP address in a network, and calls the header an error there.
#[tokio::test]
async fn an_opener_policy_is_not_sent_to_a_browser_that_would_complain() {
    let app = spawn_app().await;
    let page = |headers: &[(&'static str, &'static str)]| {
        let request = app.nobody(Method::GET, "/");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        send(request)
    };
    let upgrade = ("upgrade-insecure-requests", "1");
    let policy = "cross-origin-opener-policy";
    assert!(page(&[upgrade]).await.headers().get(policy).is_none());
    let trusted = page(&[upgrade, ("sec-fetch-mode", "navigate")]).await;
    assert_eq!(trusted.headers()[policy], "same-origin");
    app.end().await;
}

#[tokio::test]
async fn what_is_not_of_the_page_is_never_compressed() {
    let app = spawn_app().await;
    let turn = app
        .answered(&app.owner.conversation().await, "hello", &["Hi"])
        .await;
    for path in [turn.events(), "/api/conversations".to_owned()] {
        let request = app.owner.get(&path);
        let response = send(request.header("accept-encoding", "br, gzip")).await;
        assert_eq!(response.status(), 200);
        let coding = response.headers().get("content-encoding");
        assert!(
            coding.is_none_or(|is| is == "identity"),
            "{path}: {coding:?}"
        );
        assert!(response.text().await.is_ok(), "{path}");
    }
    app.end().await;
}
