//! One attached client: an SSE response that holds a position in a log and a place in the registry, and nothing else.
//!
//! It needs no `chat`. Whatever ends the response (the log's end, a disconnect, age, a kill) drops the [`Attached`] guard with it, and
//! with that the registry entry.

use crate::{
    cursor::{Cursor, Frame},
    event::{Encoded, Event},
    model::Problem,
    registry::{Attached, Reason},
};
use actix_web::{
    HttpRequest, HttpResponse, Responder as _,
    http::header::{CACHE_CONTROL, HeaderName, HeaderValue},
};
use actix_web_lab::sse::{self, Sse};
use futures_util::{Stream, stream};
use rand::RngExt as _;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How emitters behave.
#[derive(Debug, Clone)]
pub struct EmitterOptions {
    /// Between two heartbeats; also what makes a dead peer's socket fail.
    pub heartbeat: Duration,
    /// After about this long the stream ends and the client comes back: connections move on to new servers by themselves.
    pub lifetime: Duration,
    /// What `retry:` asks of a client that lost its stream.
    pub retry: Duration,
}

/// The stream of one reader, from where its cursor stands to the end of the log, if that has one.
pub fn respond(
    request: &HttpRequest,
    cursor: Cursor,
    attached: Attached,
    options: &EmitterOptions,
) -> HttpResponse {
    let now = Instant::now();
    let reader = Reader {
        cursor,
        attached,
        frames: VecDeque::new(),
        greeted: false,
        heartbeat: options.heartbeat,
        // Spread, so that ten thousand readers of one answer do not all beat at once.
        next_beat: now
            + options
                .heartbeat
                .mul_f64(rand::rng().random_range(0.5..1.0)),
        ends_at: now + jittered(options.lifetime),
    };
    event_stream(request, stream::unfold(reader, Reader::next), options)
}

/// A stream that only says why there is none now; browsers come back after `retry:`.
pub fn unavailable(
    request: &HttpRequest,
    problem: Problem,
    options: &EmitterOptions,
) -> HttpResponse {
    let Encoded { name, data } = Event::Unavailable(problem).encode();
    let event = sse::Data::new(data).event(name).into();
    event_stream(request, stream::iter([event]), options)
}

fn event_stream(
    request: &HttpRequest,
    events: impl Stream<Item = sse::Event> + 'static,
    options: &EmitterOptions,
) -> HttpResponse {
    let mut response = Sse::from_infallible_stream(events)
        .with_retry_duration(jittered(options.retry))
        .respond_to(request)
        .map_into_boxed_body();
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    // nginx would hold the events back otherwise.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Within a tenth of `duration`, either way.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.9..1.1))
}

struct Reader {
    cursor: Cursor,
    attached: Attached,
    /// Read from the log and not yet sent: at most one read's worth.
    frames: VecDeque<Frame>,
    greeted: bool,
    heartbeat: Duration,
    next_beat: Instant,
    ends_at: Instant,
}

impl Reader {
    /// The next event and the reader after it; `None` ends the response.
    async fn next(mut self) -> Option<(sse::Event, Self)> {
        if !self.greeted {
            self.greeted = true;
            // Flushes the head and proves to the client that the stream is open, however long the first event takes.
            return Some((sse::Event::Comment("continuo".into()), self));
        }
        loop {
            if let Some(frame) = self.frames.pop_front() {
                self.attached.sent(frame.seq, frame.event.data.len());
                return Some((self.data(frame), self));
            }
            // Asked here too: while events never pause the timer below is not looked at.
            if Instant::now() >= self.ends_at {
                self.attached.leave(Reason::Lifetime);
                return None;
            }
            tokio::select! {
                biased;
                () = self.attached.asked_to_end() => {
                    // At a shutdown every answer has its terminal event by now: it goes out before the stream ends.
                    self.frames = if self.attached.reason() == Reason::Shutdown { self.rest() } else { VecDeque::new() };
                    self.ends_at = Instant::now();
                    if self.frames.is_empty() {
                        return None;
                    }
                }
                frames = self.cursor.next() => {
                    let Some(frames) = frames else {
                        self.attached.leave(Reason::Finished);
                        return None;
                    };
                    self.frames = frames.into();
                }
                () = tokio::time::sleep_until(self.next_beat.min(self.ends_at)) => {
                    if Instant::now() >= self.ends_at {
                        continue;
                    }
                    self.next_beat = Instant::now() + self.heartbeat;
                    let Encoded { name, data } = Event::Ping { seq: self.cursor.seq() }.encode();
                    return Some((sse::Data::new(data).event(name).into(), self));
                }
            }
        }
    }

    fn rest(&mut self) -> VecDeque<Frame> {
        let mut rest = VecDeque::new();
        loop {
            let frames = self.cursor.read();
            if frames.is_empty() {
                return rest;
            }
            rest.extend(frames);
        }
    }

    fn data(&self, frame: Frame) -> sse::Event {
        let data = sse::Data::new(frame.event.data).event(frame.event.name);
        match frame.seq {
            Some(seq) => data.id(self.cursor.log().id(seq)).into(),
            None => data.into(),
        }
    }
}
