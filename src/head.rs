//! The head of a request while it is served: without the memory that its connection read it into.

use actix_web::{
    dev::{RequestHead, Service, ServiceRequest},
    http::header::{HeaderName, HeaderValue},
};
use bytes::Bytes;
use std::mem;

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
