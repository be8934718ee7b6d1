//! The head of a request while it is served, without the memory that its connection read it into; and what the head of every answer tells
//! a browser.

use actix_web::{
    dev::{RequestHead, Service, ServiceRequest},
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use std::mem;

/// Of what is no page: nothing in it is loaded, run, framed or sent anywhere, whatever a browser takes it for.
const CLOSED: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Tells a browser what it may do with an answer, unless the answer says so itself: the page has a policy of its own. Nobody's pages but
/// ours may load it, nobody learns where a visitor comes from, and a window that opened ours has no hold on it.
pub fn guard(headers: &mut HeaderMap, takes_opener_policy: bool) {
    let told = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CLOSED),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in told {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if takes_opener_policy {
        let policy = HeaderValue::from_static("same-origin");
        headers.insert(header::CROSS_ORIGIN_OPENER_POLICY, policy);
    }
}

/// A browser sends no `Sec-Fetch-…` to a plain HTTP address other than loopback, and writes an error to the page's console when such an
/// address sets an opener policy.
pub fn takes_opener_policy(asked: &HeaderMap) -> bool {
    asked.contains_key("sec-fetch-mode") || !asked.contains_key("upgrade-insecure-requests")
}

/// The outermost layer: what is behind it sees copies of the headers, in as little memory as they need.
///
/// Actix puts the heads of up to 256 requests a worker aside for later ones, as the last request left them: with a table for sixteen
/// headers and more (7 KiB), whose values are views into what the connection read (8 KiB). After the first crowd that would be 4 MB a
/// worker, for good.
pub fn compacted<S: Service<ServiceRequest>>(mut request: ServiceRequest, next: &S) -> S::Future {
    compact(request.head_mut());
    next.call(request)
}

fn compact(head: &mut RequestHead) {
    let headers: Vec<(HeaderName, HeaderValue)> =
        mem::take(&mut head.headers).into_iter().collect();
    let values: Vec<u8> = headers
        .iter()
        .flat_map(|(_, value)| value.as_bytes())
        .copied()
        .collect();
    let values = Bytes::from(values);
    head.headers.reserve(headers.len());
    let mut begin = 0;
    for (name, value) in headers {
        let end = begin + value.len();
        let copy = HeaderValue::from_maybe_shared(values.slice(begin..end));
        // What was a value is one.
        head.headers.append(name, copy.unwrap_or(value));
        begin = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_head_says_the_same_and_holds_nothing_of_what_was_read() {
        let read = Bytes::from_static(b"127.0.0.1\xffBearer keyone two");
        let part = |range| HeaderValue::from_maybe_shared(read.slice(range)).expect("a value");
        let mut head = RequestHead::default();
        for (name, value) in [
            ("host", part(0..9)),
            ("x-opaque", part(9..10)),
            ("authorization", part(10..20)),
            ("cookie", part(20..24)),
            ("cookie", part(24..27)),
            ("x-empty", part(0..0)),
        ] {
            head.headers.append(HeaderName::from_static(name), value);
        }
        let (before, room) = (head.headers.clone(), head.headers.capacity());
        compact(&mut head);
        assert_eq!(head.headers.len(), before.len());
        for name in before.keys() {
            let (old, new) = (before.get_all(name), head.headers.get_all(name));
            assert_eq!(old.collect::<Vec<_>>(), new.collect::<Vec<_>>(), "{name}");
        }
        let read = read.as_ptr_range();
        for (name, value) in &head.headers {
            assert!(
                value.is_empty() || !read.contains(&value.as_bytes().as_ptr()),
                "{name}"
            );
        }
        assert!(head.headers.capacity() < room);
    }

    #[test]
    fn a_head_without_headers_stays_one() {
        let mut head = RequestHead::default();
        compact(&mut head);
        assert!(head.headers.is_empty());
    }
}
