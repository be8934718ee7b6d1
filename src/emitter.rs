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
use actix_web::{HttpResponse, http::header::CACHE_CONTROL};
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

/// What of an event is not its data, about.
const FRAME_BYTES: usize = 48;

/// The stream of one reader, from where its cursor stands to the end of the log, if that has one.
pub fn respond(cursor: Cursor, attached: Attached, options: &EmitterOptions) -> HttpResponse {
    let ends_at = Instant::now() + jittered(options.lifetime);
    let reader = Reader::new(cursor, attached, options, Some(ends_at));
    event_stream(retry(options) + ": continuo\n\n", reader.stream(events))
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
    // No blank line without data before it, and no `retry:`: the Python client takes each blank line behind an id for an event, and
    // stumbles over its missing JSON.
    let pieces = reader.stream(|sign, _| Some(payloads(sign)));
    event_stream(": continuo\n".to_owned(), pieces)
}

/// A stream that only says why there is none now; browsers come back after `retry:`.
pub fn unavailable(problem: Problem, options: &EmitterOptions) -> HttpResponse {
    let mut text = retry(options);
    write_event(&mut text, &Event::Unavailable(problem).encode());
    event_stream(text, stream::empty())
}

/// The greeting flushes the head and proves to the client that the stream is open, however long the first event takes.
fn event_stream(greeting: String, pieces: impl Stream<Item = Bytes> + 'static) -> HttpResponse {
    let pieces = stream::once(ready(greeting.into())).chain(pieces);
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        // nginx would hold the events back otherwise.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(pieces.map(Ok::<_, Infallible>))
}

fn retry(options: &EmitterOptions) -> String {
    format!("retry: {}\n\n", jittered(options.retry).as_millis())
}

/// Within a tenth of `duration`, either way.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.9..1.1))
}

/// What a reader has for its client.
enum Sign {
    /// All that one read of the log brought: one piece of the response, however many events it is.
    Frames(Vec<Frame>),
    /// It is alive, and has read up to here.
    Beat(u64),
    /// It ends here, and the log does not.
    Cut,
}

/// As events of the contract.
fn events(sign: Sign, log: &dyn Log) -> Option<Bytes> {
    let mut text = String::new();
    match sign {
        Sign::Frames(frames) => {
            text.reserve(size(&frames));
            for Frame { seq, event } in frames {
                if let Some(seq) = seq {
                    text.push_str("id: ");
                    log.write_id(seq, &mut text);
                    text.push('\n');
                }
                write_event(&mut text, &event);
            }
        }
        Sign::Beat(seq) => write_event(&mut text, &Event::Ping { seq }.encode()),
        Sign::Cut => return None,
    }
    Some(text.into())
}

/// Its JSON has no line break.
fn write_event(text: &mut String, event: &Encoded) {
    text.extend(["event: ", event.name, "\ndata: ", &event.data, "\n\n"]);
}

/// As lines that OpenAI's clients read.
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
    next_beat: Instant,
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
            next_beat,
            ends_at,
        }
    }

    /// What it has for its client, in words that `tell` finds; without any it ends.
    fn stream(self, tell: impl Fn(Sign, &dyn Log) -> Option<Bytes>) -> impl Stream<Item = Bytes> {
        // In a box, because it moves with each event.
        stream::unfold((Box::new(self), tell), async |(mut reader, tell)| {
            let sign = reader.next().await?;
            let told = tell(sign, &**reader.cursor.log())?;
            Some((told, (reader, tell)))
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
        self.next_beat = now + self.heartbeat;
        let rings_at = self
            .ends_at
            .map_or(self.next_beat, |at| at.min(self.next_beat));
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
    fn what_one_read_brought_is_one_piece_of_the_response() {
        let log = EventLog::new(1 << 20);
        for text in ["a", "b"] {
            let delta = Event::Delta { text: text.into() };
            log.append(&delta).expect("room");
        }
        let frames = Sign::Frames(log.cursor(0).read());
        let expected = "id: 1\nevent: delta\ndata: {\"text\":\"a\"}\n\nid: 2\nevent: delta\ndata: {\"text\":\"b\"}\n\n";
        assert_eq!(events(frames, &*log).as_deref(), Some(expected.as_bytes()));

        let log = EventLog::of_payloads(1 << 20);
        for payload in ["{}", "[1,\n2]"] {
            log.append_payload(payload.into()).expect("room");
        }
        let frames = Sign::Frames(log.cursor(0).read());
        let expected = "id: 1\ndata: {}\n\nid: 2\ndata: [1,\ndata: 2]\n\n";
        assert_eq!(payloads(frames), expected);
    }

    #[test]
    fn without_an_event_a_piece_says_that_the_reader_is_alive_or_cut() {
        let log = EventLog::new(1 << 20);
        let beat = events(Sign::Beat(7), &*log).expect("a piece");
        assert_eq!(beat, "event: ping\ndata: {\"seq\":7}\n\n");
        assert_eq!(events(Sign::Cut, &*log), None);
        assert_eq!(payloads(Sign::Beat(7)), ": ping\n");
        let cut = payloads(Sign::Cut);
        assert!(cut.starts_with(b"data: {\"error\":"), "{cut:?}");
    }
}
