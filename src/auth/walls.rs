//! What no request passes, whoever sent it: a foreign `Host`, a page of another origin, a head without end.

use super::Auth;
use crate::{client::Client, problem::ApiError};
use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        header::{self, HeaderMap},
        uri::Authority,
    },
    middleware::Next,
    web::Data,
};
use std::net::IpAddr;

/// What this machine calls itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What the head of a request may have.
const HEADERS: usize = 96;
const HEAD_BYTES: usize = 128 * 1024;

/// Refuses foreign `Host` names on every route, and requests that change something when a page of another origin sent them.
pub async fn walls(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let auth = request
        .app_data::<Data<Auth>>()
        .expect("the application has its Auth");
    // Not `connection_info()`: that believes `X-Forwarded-Host`, which any page may send.
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = request
        .uri()
        .authority()
        .map(Authority::as_str)
        .or(host)
        .unwrap_or_default()
        .to_owned();
    let refusal = if is_too_large(request.headers()) {
        ApiError::new(
            431,
            "head-too-large",
            "The head of the request is too large",
            format!("it may have {HEADERS} headers, and {HEAD_BYTES} bytes in all"),
        )
    } else if !auth.knows_host(&host) {
        ApiError::new(
            421,
            "unknown-host",
            "This server does not answer to that name",
            "the Host header names another server; add the name to `server.allowed_hosts` if it is this one",
        )
    } else if !request.method().is_safe()
        && is_cross_site(
            request.headers(),
            &host,
            Client::of(request.request()).is_https,
        )
    {
        ApiError::new(
            403,
            "cross-site",
            "Cross-site requests are refused",
            "a page of another origin cannot act for the user; programs send no Origin header",
        )
    } else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    Ok(request.error_response(refusal))
}

/// More than actix takes over HTTP/1.1; over HTTP/2 it would take 16 MiB.
fn is_too_large(headers: &HeaderMap) -> bool {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    headers.len() > HEADERS || bytes.sum::<usize>() > HEAD_BYTES
}

/// By `Sec-Fetch-Site` where the browser sends it, else by `Origin` against `Host`. A sibling site is foreign too.
fn is_cross_site(headers: &HeaderMap, host: &str, is_https: bool) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    // Without TLS here there may be some in front, of which nothing is known.
    origin.is_none_or(|(scheme, authority)| {
        with_port(authority, scheme) != with_port(host, scheme) || is_https && scheme != "https"
    })
}

fn with_port(host: &str, scheme: &str) -> String {
    let host = host.to_ascii_lowercase();
    if without_port(&host) != host {
        return host;
    }
    let port = if scheme == "https" { 443 } else { 80 };
    format!("{host}:{port}")
}

impl Auth {
    /// A `Host` that this server answers to. Bound to loopback, only loopback's own names: a foreign name that resolves to this
    /// machine (DNS rebinding) would make a foreign page same-origin.
    fn knows_host(&self, host: &str) -> bool {
        is_ours(host, self.bound_to.ip(), &self.allowed_hosts)
    }
}

fn is_ours(host: &str, bound_to: IpAddr, allowed: &[String]) -> bool {
    if !bound_to.is_loopback() && allowed.is_empty() {
        return true;
    }
    let name = without_port(host);
    let is_it = |known: &str| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host);
    LOOPBACK.into_iter().any(is_it)
        || allowed.iter().any(|known| is_it(known))
        || name.trim_matches(['[', ']']).parse() == Ok(bound_to)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn cross_site(headers: &[(&'static str, &'static str)], host: &str) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        is_cross_site(&map, host, false)
    }

    #[test]
    fn a_name_is_this_servers_when_it_is_the_loopbacks_or_allowed_and_any_is_where_none_is_named() {
        let allowed = ["chat.example".to_owned(), "other.example:8443".to_owned()];
        let public = [0, 0, 0, 0].into();
        for ours in [
            "localhost:80",
            "127.0.0.1",
            "[::1]:1",
            "Chat.example:9",
            "other.example:8443",
        ] {
            assert!(is_ours(ours, public, &allowed), "{ours}");
            assert!(is_ours(ours, [127, 0, 0, 1].into(), &allowed), "{ours}");
        }
        for foreign in [
            "evil.example",
            "other.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!is_ours(foreign, public, &allowed), "{foreign}");
            assert!(!is_ours(foreign, [127, 0, 0, 1].into(), &[]), "{foreign}");
            assert!(is_ours(foreign, public, &[]), "{foreign}");
        }
        assert!(is_ours("10.1.2.3:80", [10, 1, 2, 3].into(), &allowed));
    }

    #[test]
    fn only_pages_of_this_origin_and_programs_may_change_something() {
        let host = "127.0.0.1:8080";
        assert!(!cross_site(&[], host), "a program");
        assert!(!cross_site(&[("sec-fetch-site", "same-origin")], host));
        assert!(cross_site(&[("sec-fetch-site", "cross-site")], host));
        assert!(cross_site(&[("sec-fetch-site", "same-site")], host));
        assert!(!cross_site(&[("origin", "http://127.0.0.1:8080")], host));
        assert!(
            cross_site(&[("origin", "http://127.0.0.1:8081")], host),
            "another port is another origin"
        );
        assert!(cross_site(&[("origin", "null")], host));
        assert!(cross_site(&[("origin", "http://evil.example")], host));
        assert!(!cross_site(
            &[("origin", "http://chat.example")],
            "chat.example:80"
        ));
        assert!(!cross_site(
            &[("origin", "https://Chat.example")],
            "chat.example"
        ));
        assert!(cross_site(
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://127.0.0.1:8080")
            ],
            host
        ));
    }
}
