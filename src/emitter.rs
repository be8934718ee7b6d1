//! One attached client: an SSE response that holds a position in a log and a place in the registry, and nothing else.
//!
//! It needs no `chat`. Whatever ends the response (the log's end, a disconnect, age, a kill) drops the [`Attached`] guard with it, and
//! with that the registry entry.

use crate::{
    cursor::{Cursor, Frame, Log},
    event::{Encoded, Event},
    model::Problem,
    openai,
    registry::{Attached, Reason},
};
use actix_web::{
    HttpRequest, HttpResponse, Responder as _,
    http::header::{CACHE_CONTROL, HeaderName, HeaderValue},
};
use actix_web_lab::sse::{self, Sse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rand::RngExt as _;
use std::{
    collections::VecDeque, convert::Infallible, fmt::Write as _, future::ready, time::Duration,
};
use tokio::time::{Instant, sleep_until};

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
    let ends_at = Instant::now() + jittered(options.lifetime);
    let reader = Reader::new(cursor, attached, options, Some(ends_at));
    let events = reader.stream(event).filter_map(ready);
    event_stream(request, events, options)
}

/// The same of a log of payloads, as OpenAI's clients read them.
///
/// They do not come back by themselves, so it has no lifetime, and does not end in silence: whatever else ends it before the end of the
/// log is told as an error.
pub fn respond_payloads(
    cursor: Cursor,
    attached: Attached,
    options: &EmitterOptions,
) -> HttpResponse {
    let reader = Reader::new(cursor, attached, options, None);
    let lines = reader.stream(|sign, _| Ok::<_, Infallible>(lines(sign)));
    let mut response = HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(lines);
    never_buffered(&mut response);
    response
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
    never_buffered(&mut response);
    response
}

fn never_buffered(response: &mut HttpResponse) {
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
}

/// Within a tenth of `duration`, either way.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.9..1.1))
}

/// What a reader has for its client.
enum Sign {
    /// It is attached.
    Greeting,
    Frame(Frame),
    /// It is alive, and has read up to here.
    Beat(u64),
    /// It ends here, and the log does not.
    Cut,
}

/// As an event of the contract.
fn event(sign: Sign, log: &dyn Log) -> Option<sse::Event> {
    match sign {
        // Flushes the head and proves to the client that the stream is open, however long the first event takes.
        Sign::Greeting => Some(sse::Event::Comment("continuo".into())),
        Sign::Frame(Frame { seq, event }) => {
            let data = sse::Data::new(event.data).event(event.name);
            Some(match seq {
                Some(seq) => data.id(log.id(seq)).into(),
                None => data.into(),
            })
        }
        Sign::Beat(seq) => {
            let Encoded { name, data } = Event::Ping { seq }.encode();
            Some(sse::Data::new(data).event(name).into())
        }
        Sign::Cut => None,
    }
}

/// As lines that OpenAI's clients read. No blank line without data before it, and no `retry:`: the Python client takes each blank line behind an
/// id for an event, and stumbles over its missing JSON.
fn lines(sign: Sign) -> Bytes {
    match sign {
        Sign::Greeting => Bytes::from_static(b": continuo\n"),
        Sign::Beat(_) => Bytes::from_static(b": ping\n"),
        Sign::Cut => {
            let problem = Problem::new(
                503,
                "cut",
                "The stream was cut",
                "the connection was ended before the answer was; read on at its `Location`",
            );
            data_lines(None, &openai::error(&problem))
        }
        Sign::Frame(Frame { seq, event }) => data_lines(seq, &event.data),
    }
}

fn data_lines(seq: Option<u64>, payload: &str) -> Bytes {
    let mut lines = String::with_capacity(payload.len() + 40);
    if let Some(seq) = seq {
        let _ = writeln!(lines, "id: {seq}");
    }
    // A payload that came in several lines leaves in as many.
    for line in payload.split(['\n', '\r']) {
        lines.extend(["data: ", line, "\n"]);
    }
    lines.push('\n');
    lines.into()
}

struct Reader {
    cursor: Cursor,
    attached: Attached,
    /// Read from the log and not yet sent: at most one read's worth.
    frames: VecDeque<Frame>,
    state: State,
    heartbeat: Duration,
    next_beat: Instant,
    ends_at: Option<Instant>,
}

enum State {
    New,
    Reading,
    /// After what is in `frames`.
    Leaving,
    Ended,
}

impl Reader {
    fn new(
        cursor: Cursor,
        attached: Attached,
        options: &EmitterOptions,
        ends_at: Option<Instant>,
    ) -> Self {
        // Spread, so that ten thousand readers of one answer do not all beat at once.
        let first_beat = options
            .heartbeat
            .mul_f64(rand::rng().random_range(0.5..1.0));
        Self {
            cursor,
            attached,
            frames: VecDeque::new(),
            state: State::New,
            heartbeat: options.heartbeat,
            next_beat: Instant::now() + first_beat,
            ends_at,
        }
    }

    /// What it has for its client, in words that `tell` finds.
    fn stream<T>(self, tell: impl Fn(Sign, &dyn Log) -> T) -> impl Stream<Item = T> {
        stream::unfold((self, tell), async |(reader, tell)| {
            let (sign, reader) = reader.next().await?;
            let told = tell(sign, &**reader.cursor.log());
            Some((told, (reader, tell)))
        })
    }

    /// The next sign and the reader after it; `None` ends the response.
    async fn next(mut self) -> Option<(Sign, Self)> {
        match self.state {
            State::New => {
                self.state = State::Reading;
                return Some((Sign::Greeting, self));
            }
            State::Ended => return None,
            State::Reading | State::Leaving => {}
        }
        loop {
            if let Some(frame) = self.frames.pop_front() {
                self.attached.sent(frame.seq, frame.event.data.len());
                return Some((Sign::Frame(frame), self));
            }
            // Asked here too: while events never pause the timer below is not looked at.
            if self.ends_at.is_some_and(|at| Instant::now() >= at) {
                self.attached.leave(Reason::Lifetime);
                self.state = State::Leaving;
            }
            if matches!(self.state, State::Leaving) {
                self.state = State::Ended;
                return (!self.cursor.is_at_end()).then_some((Sign::Cut, self));
            }
            tokio::select! {
                biased;
                () = self.attached.asked_to_end() => {
                    // At a shutdown every answer has its terminal event by now: it goes out before the stream ends.
                    self.frames = if self.attached.reason() == Reason::Shutdown { self.rest() } else { VecDeque::new() };
                    self.state = State::Leaving;
                }
                frames = self.cursor.next() => {
                    let Some(frames) = frames else {
                        self.attached.leave(Reason::Finished);
                        return None;
                    };
                    self.frames = frames.into();
                }
                () = sleep_until(self.ends_at.map_or(self.next_beat, |at| at.min(self.next_beat))) => {
                    if self.ends_at.is_some_and(|at| Instant::now() >= at) {
                        continue;
                    }
                    self.next_beat = Instant::now() + self.heartbeat;
                    return Some((Sign::Beat(self.cursor.seq()), self));
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
}
