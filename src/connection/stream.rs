//! A request and its answer over HTTP/2: looked at while they last, and let go of when their stream is reset or their client is gone.

use super::Connection;
use actix_web::{
    Error, HttpMessage as _,
    body::{BodySize, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{StatusCode, Version},
};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How often it is asked whether the peer of a stream is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most of a body that is handed on at once: having read so much is progress.
const PIECE: usize = 16 * 1024;

/// The outermost layer: over HTTP/2, lets go of requests and answers whose client has reset the stream or is gone.
pub fn watched<S, B>(
    mut request: ServiceRequest,
    next: &S,
) -> impl Future<Output = Result<ServiceResponse<Watched<B>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + Unpin,
{
    let peer = (request.version() == Version::HTTP_2).then(|| Peer::of(&mut request));
    let answered = next.call(request);
    async move {
        let Some(mut peer) = peer else {
            let response = answered.await?;
            return Ok(response.map_body(|_, body| Watched { body, stream: None }));
        };
        let response = {
            let mut answered = pin!(answered);
            poll_fn(|cx| {
                if peer.is_gone(cx) {
                    // Nobody reads this.
                    let gone = actix_web::error::InternalError::new("gone", StatusCode::GONE);
                    return Poll::Ready(Err(gone.into()));
                }
                answered.as_mut().poll(cx)
            })
            .await?
        };
        let stream = PacedStream::of(peer, &response);
        Ok(response.map_body(|_, body| Watched {
            body,
            stream: Some(Box::new(stream)),
        }))
    }
}

/// Whether the client of an HTTP/2 stream is still there: what it uploads says so, also behind its end.
struct Peer {
    upload: Rc<RefCell<Upload>>,
    looks: Interval,
}

struct Upload {
    payload: Payload,
    /// Came when only the end was asked for; nothing more is asked until it was read.
    held: Option<Bytes>,
}

/// What a handler reads the body from.
struct Shared(Rc<RefCell<Upload>>);

impl Stream for Shared {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Self::Item>> {
        let mut upload = self.0.borrow_mut();
        match upload.held.take() {
            Some(held) => Poll::Ready(Some(Ok(held))),
            None => Pin::new(&mut upload.payload).poll_next(cx),
        }
    }
}

impl Peer {
    fn of(request: &mut ServiceRequest) -> Self {
        let upload = Rc::new(RefCell::new(Upload {
            payload: request.take_payload(),
            held: None,
        }));
        request.set_payload(Payload::Stream {
            payload: Box::pin(Shared(upload.clone())),
        });
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { upload, looks }
    }

    /// Asks when it is time to.
    fn is_gone(&mut self, cx: &mut Context) -> bool {
        let mut is_due = false;
        while self.looks.poll_tick(cx).is_ready() {
            is_due = true;
        }
        is_due && self.upload.borrow_mut().is_broken(cx)
    }
}

impl Upload {
    fn is_broken(&mut self, cx: &mut Context) -> bool {
        if self.held.is_some() {
            return false;
        }
        match Pin::new(&mut self.payload).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.held = Some(bytes);
                false
            }
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(None) | Poll::Pending => false,
        }
    }
}

/// A body, over HTTP/2 in pieces, and ended when its peer is gone.
pub struct Watched<B> {
    body: B,
    stream: Option<Box<PacedStream>>,
}

struct PacedStream {
    peer: Peer,
    rest: Bytes,
    connection: Option<Weak<Connection>>,
    /// Among those that wait.
    id: u64,
    is_over: bool,
}

impl PacedStream {
    fn of<B>(peer: Peer, response: &ServiceResponse<B>) -> Self {
        let connection = response.request().conn_data::<Arc<Connection>>();
        let id = connection.map_or(0, |connection| connection.waiting().another());
        Self {
            peer,
            rest: Bytes::new(),
            connection: connection.map(Arc::downgrade),
            id,
            is_over: false,
        }
    }

    /// It waits from now on, or not.
    fn waits(&self, since: Option<Instant>) {
        if let Some(connection) = self.connection.as_ref().and_then(Weak::upgrade) {
            connection.waiting().waits(self.id, since);
        }
    }

    fn hand_out(&mut self) -> Bytes {
        self.waits(Some(Instant::now()));
        let length = self.rest.len().min(PIECE);
        self.rest.split_to(length)
    }
}

impl Drop for PacedStream {
    fn drop(&mut self) {
        self.waits(None);
    }
}

impl<B: MessageBody + Unpin> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Pin::new(&mut this.body).poll_next(cx);
        };
        stream.waits(None);
        if stream.is_over {
            return Poll::Ready(None);
        }
        if stream.peer.is_gone(cx) {
            stream.is_over = true;
            // Sending anything, even nothing, tells actix that the stream is closed; an end would be an error in its log.
            return Poll::Ready(Some(Ok(Bytes::new())));
        }
        if !stream.rest.is_empty() {
            return Poll::Ready(Some(Ok(stream.hand_out())));
        }
        match Pin::new(&mut this.body).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                stream.rest = bytes;
                Poll::Ready(Some(Ok(stream.hand_out())))
            }
            other => other,
        }
    }
}
