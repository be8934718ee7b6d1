//! TLS from files: what is wrong with them is said, and they are read again when asked.

use crate::{
    refusals::refused,
    support::{
        process::{Running, continuo, output, run},
        tls::Certificate,
        until,
    },
};
use std::{fs, path::Path};

fn arguments(data: &Path, certificate: &str, key: &str) -> String {
    let file = data.join("tls.toml");
    let text = format!("[server]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n");
    fs::write(&file, text).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_sighup_and_a_broken_one_is_not() {
    let data = tempfile::tempdir().expect("a directory");
    let mut certificate = Certificate::new();
    let file = arguments(data.path(), &certificate.certificate(), &certificate.key());
    let server = Running::of(
        data.path(),
        continuo(data.path(), &["--config", &file]).env("RUST_LOG", "info"),
    )
    .await;
    assert!(server.origin.starts_with("https://127.0.0.1:"));
    assert!(server.link.starts_with(&server.origin), "{}", server.link);
    let link = output(data.path(), &["login"]).await;
    assert!(link.starts_with(&server.origin), "{link}");
    let mut before = certificate.http2(&server.origin).await;
    certificate.renew();
    assert!(
        certificate.connect(&server.origin, &[]).await.is_err(),
        "not by itself"
    );
    server.process.signal("HUP").await;
    until("the new one is shown", async || {
        certificate.connect(&server.origin, &[]).await.is_ok()
    })
    .await;
    assert_eq!(before.get("/livez", "").await.status, 200, "goes on");
    before.cut();

    fs::write(certificate.key(), "no key").expect("written");
    server.process.signal("HUP").await;
    let mut after = certificate.http2(&server.origin).await;
    assert_eq!(after.get("/livez", "").await.status, 200);
    after.cut();
    let ended = server.terminate().await;
    assert_eq!(ended.code, Some(0));
    let said = |message: &str| ended.stderr.matches(message).count();
    assert_eq!(
        said("the certificate was read again"),
        1,
        "{}",
        ended.stderr
    );
    assert_eq!(
        said("the certificate stays as it was"),
        1,
        "{}",
        ended.stderr
    );
    assert_eq!(said("has no private key"), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn files_that_are_no_certificate_or_key_are_named_with_the_reason() {
    let data = tempfile::tempdir().expect("a directory");
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let (cert, key) = (certificate.certificate(), certificate.key());
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let missing = data.path().join("missing.pem").display().to_string();
    let empty = file("empty.pem", "");
    let torn = file("torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let garbage = file(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = file(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (cert, key, words) in [
        (
            &*missing,
            &*key,
            ["server.tls_cert", &missing, "No such file"],
        ),
        (
            &cert,
            &missing,
            ["server.tls_key", &missing, "No such file"],
        ),
        (&empty, &key, ["server.tls_cert", &empty, "no certificate"]),
        (&torn, &key, ["server.tls_cert", &torn, "not PEM"]),
        (
            &garbage,
            &key,
            ["server.tls_cert", &garbage, "does not go with"],
        ),
        (&key, &key, ["server.tls_cert", &key, "no certificate"]),
        (&cert, &cert, ["server.tls_key", &cert, "no private key"]),
        (
            &cert,
            &locked,
            ["server.tls_key", &locked, "without a password"],
        ),
        (
            &cert,
            &other.key(),
            ["server.tls_key", &cert, "does not go with"],
        ),
        (&cert, "", ["server.tls_cert", "server.tls_key", "tls.toml"]),
        ("", &key, ["server.tls_key", "server.tls_cert", "tls.toml"]),
    ] {
        println!("{cert} {key}");
        let file = arguments(data.path(), cert, key);
        let ended = run(data.path(), &["--bind", "127.0.0.1:0", "--config", &file]).await;
        refused(&ended, &words);
    }
}
