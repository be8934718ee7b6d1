//! The chat page: files embedded in the binary, named by their content so that they can be kept for ever.

mod files;
mod slim;

use crate::problem::ApiError;
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header as _},
    web,
};
use bytes::Bytes;
use files::{FILES, File};

/// Nothing but our own files, no inline script, and no string that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
    font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// What the page never asks for, nobody gets through it.
const PERMISSIONS: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()";

/// The page itself is never kept: it names the files of this build.
pub(super) async fn index(request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS));
    respond(response, &FILES.index, &request)
}

pub(super) async fn asset(
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (hash, name) = path.into_inner();
    if hash != FILES.hash {
        return Err(ApiError::not_found("file; reload the page"));
    }
    serve(&name, "public, max-age=31536000, immutable", &request)
}

/// Browsers ask for it without being told to.
pub(super) async fn favicon(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    serve("favicon.svg", "public, max-age=86400", &request)
}

fn serve(name: &str, cache: &'static str, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let file = FILES.assets.get(name);
    let file = file.ok_or_else(|| ApiError::not_found("file"))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, cache));
    Ok(respond(response, file, request))
}

/// The file in the coding that the client likes best; ours is brotli. Its bytes are shared, not copied.
fn respond(mut response: HttpResponseBuilder, file: &File, request: &HttpRequest) -> HttpResponse {
    let (coding, body) = choose(file, request);
    if coding != ContentEncoding::Identity {
        response.insert_header((header::CONTENT_ENCODING, coding.as_str()));
    }
    response
        .content_type(file.media_type)
        .insert_header((header::VARY, "accept-encoding"))
        .body(body.clone())
}

/// Who accepts nothing of what there is, or says it in a way that cannot be read, gets the file as it is: of more use than a 406.
fn choose<'a>(file: &'a File, request: &HttpRequest) -> (ContentEncoding, &'a Bytes) {
    let codings = [Encoding::brotli(), Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    match accepted.and_then(|accepted| accepted.negotiate(codings.iter())) {
        Some(Encoding::Known(ContentEncoding::Brotli)) => (ContentEncoding::Brotli, &file.brotli),
        Some(Encoding::Known(ContentEncoding::Gzip)) => (ContentEncoding::Gzip, &file.gzip),
        _ => (ContentEncoding::Identity, &file.plain),
    }
}
