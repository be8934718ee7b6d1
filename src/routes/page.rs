//! The chat page: files embedded in the binary, named by their content so that they can be kept for ever.

use crate::problem::ApiError;
use actix_web::{HttpResponse, http::header, web};
use rust_embed::{Embed, EmbeddedFile};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, sync::LazyLock};

#[derive(Embed)]
#[folder = "static"]
struct Static;

/// Nothing but our own files, no inline script, and no string that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
    font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// One hash of all files, so that modules can import each other by plain names.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Static::iter().collect();
    names.sort();
    let mut all = Sha256::new();
    for name in names {
        all.update(name.as_bytes());
        all.update(
            file(&name)
                .map(|file| file.metadata.sha256_hash())
                .unwrap_or_default(),
        );
    }
    all.finalize()
        .iter()
        .take(8)
        .fold(String::new(), |mut hash, byte| {
            let _ = write!(hash, "{byte:02x}");
            hash
        })
});

fn file(name: &str) -> Option<EmbeddedFile> {
    <Static as Embed>::get(name)
}

/// The page itself is never kept: it names the files of this build.
pub(super) async fn index() -> HttpResponse {
    let page = file("index.html")
        .map(|file| String::from_utf8_lossy(&file.data).into_owned())
        .unwrap_or_default();
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(page.replace("{{assets}}", &format!("/assets/{}", *HASH)))
}

pub(super) async fn asset(path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (hash, name) = path.into_inner();
    if hash != *HASH || name == "index.html" {
        return Err(ApiError::not_found("file; reload the page"));
    }
    serve(&name, "public, max-age=31536000, immutable")
}

/// Browsers ask for it without being told to.
pub(super) async fn favicon() -> Result<HttpResponse, ApiError> {
    serve("favicon.svg", "public, max-age=86400")
}

fn serve(name: &str, cache: &'static str) -> Result<HttpResponse, ApiError> {
    let file = file(name).ok_or_else(|| ApiError::not_found("file"))?;
    let media_type = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    Ok(HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::CACHE_CONTROL, cache))
        .body(file.data.into_owned()))
}
