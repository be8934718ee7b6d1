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
use std::{convert::Infallible, fmt::Write as _, future::ready, pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until};

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

/// What of a payload's lines is not the payload, about.
const FRAME_BYTES: usize = 32;

/// The stream of one reader, from where its cursor stands to the end of the log, if that has one.
pub fn respond(
    request: &HttpRequest,
    cursor: Cursor,
    attached: Attached,
    options: &EmitterOptions,
) -> HttpResponse {
    let log = cursor.log().clone();
    let ends_at = Instant::now() + jittered(options.lifetime);
    let signs = Reader::new(cursor, attached, options, Some(ends_at)).signs();
    let events = signs.flat_map(move |sign| stream::iter(events(sign, &*log)));
    // Flushes the head and proves to the client that the stream is open, however long the first event takes.
    let greeting = stream::once(ready(sse::Event::Comment("continuo".into())));
    event_stream(request, greeting.chain(events), options)
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
    let signs = Reader::new(cursor, attached, options, None).signs();
    // No blank line without data before it, and no `retry:`: the Python client takes each blank line behind an id for an event, and
    // stumbles over its missing JSON.
    let greeting = stream::once(ready(Bytes::from_static(b": continuo\n")));
    let pieces = greeting.chain(signs.map(payloads));
    let mut response = HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(pieces.map(Ok::<_, Infallible>));
    never_buffered(&mut response);
    response
}

/// A stream that only says why there is none now; browsers come back after `retry:`.
pub fn unavailable(
    request: &HttpRequest,
    problem: Problem,
    options: &EmitterOptions,
) -> HttpResponse {
    let event = data(Event::Unavailable(problem).encode()).into();
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
    /// All that one read of the log brought.
    Frames(Vec<Frame>),
    /// It is alive, and has read up to here.
    Beat(u64),
    /// It ends here, and the log does not.
    Cut,
}

/// As events of the contract.
fn events(sign: Sign, log: &dyn Log) -> Vec<sse::Event> {
    match sign {
        Sign::Frames(frames) => {
            let event = |Frame { seq, event }: Frame| match seq {
                Some(seq) => data(event).id(log.id(seq)).into(),
                None => data(event).into(),
            };
            frames.into_iter().map(event).collect()
        }
        Sign::Beat(seq) => vec![data(Event::Ping { seq }.encode()).into()],
        Sign::Cut => Vec::new(),
    }
}

fn data(Encoded { name, data }: Encoded) -> sse::Data {
    sse::Data::new(data).event(name)
}

/// As lines that OpenAI's clients read, in one piece.
fn payloads(sign: Sign) -> Bytes {
    let mut text = String::new();
    match sign {
        Sign::Frames(frames) => {
            text.reserve(size(&frames));
            for Frame { seq, event } in frames {
                write_payload(&mut text, seq, &event.data);
            }
        }
        Sign::Beat(_) => text.push_str(": ping\n"),
        Sign::Cut => {
            let problem = Problem::new(
                503,
                "cut",
                "The stream was cut",
                "the connection was ended before the answer was; read on at its `Location`",
            );
            write_payload(&mut text, None, &openai::error(&problem));
        }
    }
    text.into()
}

fn write_payload(text: &mut String, seq: Option<u64>, payload: &str) {
    if let Some(seq) = seq {
        let _ = writeln!(text, "id: {seq}");
    }
    // A payload that came in several lines leaves in as many.
    for line in payload.split(['\n', '\r']) {
        text.extend(["data: ", line, "\n"]);
    }
    text.push('\n');
}

/// About so many bytes are written of them.
fn size(frames: &[Frame]) -> usize {
    let sizes = frames
        .iter()
        .map(|frame| frame.event.data.len() + FRAME_BYTES);
    sizes.sum()
}

struct Reader {
    cursor: Cursor,
    attached: Attached,
    state: State,
    heartbeat: Duration,
    ends_at: Option<Instant>,
    /// Rings for the next heartbeat, or when it is old. Like the wait below it is there once for the whole stream: to begin a wait
    /// anew for each event would cost more than the event.
    timer: Pin<Box<Sleep>>,
    asked_to_end: Pin<Box<dyn Future<Output = ()>>>,
}

enum State {
    Reading,
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
        let next_beat = Instant::now() + first_beat;
        Self {
            asked_to_end: Box::pin(attached.asked_to_end()),
            timer: Box::pin(sleep_until(
                ends_at.map_or(next_beat, |at| at.min(next_beat)),
            )),
            cursor,
            attached,
            state: State::Reading,
            heartbeat: options.heartbeat,
            ends_at,
        }
    }

    /// What it has for its client, from now on.
    fn signs(self) -> impl Stream<Item = Sign> {
        // In a box, because it moves with each sign.
        stream::unfold(Box::new(self), async |mut reader| {
            let sign = reader.next().await?;
            Some((sign, reader))
        })
    }

    /// The next sign; `None` ends the response.
    async fn next(&mut self) -> Option<Sign> {
        if let State::Reading = self.state {
            tokio::select! {
                biased;
                () = &mut self.asked_to_end => {}
                // Before the events, which may never pause.
                () = &mut self.timer => {
                    let now = Instant::now();
                    if self.ends_at.is_none_or(|at| now < at) {
                        self.beat_after(now);
                        return Some(Sign::Beat(self.cursor.seq()));
                    }
                    self.attached.leave(Reason::Lifetime);
                }
                frames = self.cursor.next() => {
                    if frames.is_none() {
                        self.attached.leave(Reason::Finished);
                    }
                    return Some(self.sends(frames?));
                }
            }
            self.state = State::Leaving;
        }
        if let State::Leaving = self.state {
            // At a shutdown every answer has its terminal event by now: it goes out before the stream ends.
            if self.attached.reason() == Reason::Shutdown {
                let rest = self.cursor.read();
                if !rest.is_empty() {
                    return Some(self.sends(rest));
                }
            }
            self.state = State::Ended;
            return (!self.cursor.is_at_end()).then_some(Sign::Cut);
        }
        None
    }

    fn beat_after(&mut self, now: Instant) {
        let next_beat = now + self.heartbeat;
        let rings_at = self.ends_at.map_or(next_beat, |at| at.min(next_beat));
        self.timer.as_mut().reset(rings_at);
    }

    fn sends(&self, frames: Vec<Frame>) -> Sign {
        for frame in &frames {
            self.attached.sent(frame.seq, frame.event.data.len());
        }
        Sign::Frames(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::EventLog;

    #[test]
    fn what_one_read_brought_is_one_piece_for_openais_clients() {
        let log = EventLog::of_payloads(1 << 20);
        for payload in ["{}", "[1,\n2]"] {
            log.append_payload(payload.into()).expect("room");
        }
        let frames = Sign::Frames(log.cursor(0).read());
        let expected = "id: 1\ndata: {}\n\nid: 2\ndata: [1,\ndata: 2]\n\n";
        assert_eq!(payloads(frames), expected);
    }

    #[test]
    fn without_a_payload_a_piece_says_that_the_reader_is_alive_or_cut() {
        assert_eq!(payloads(Sign::Beat(7)), ": ping\n");
        let cut = payloads(Sign::Cut);
        assert!(cut.starts_with(b"data: {\"error\":"), "{cut:?}");
    }
}
