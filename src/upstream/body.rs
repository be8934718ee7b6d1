//! The body of an answer, whatever it turns out to be: an event stream or one JSON text, and how it ended.
//!
//! No network here: bytes go in, deltas and the ending come out.

use super::{
    Delta, Failure, Step, UpstreamError,
    chunk::{ChunkReader, Verdict},
    sse::EventDecoder,
};

/// How an answer ended: `Step::End` or an error.
pub(super) type Ending = Result<Step, UpstreamError>;

/// Reads one body. After an [`Ending`] came out it must not be fed again.
pub(super) struct BodyReader {
    limit: usize,
    shape: Shape,
    chunks: ChunkReader,
    /// The payloads that said something, when they are asked for.
    payloads: Option<Vec<String>>,
}

/// Content types are not to be trusted: event streams come as `text/plain`, errors as `text/event-stream`.
enum Shape {
    /// Nothing but blanks so far.
    Unknown,
    Events(EventDecoder),
    Whole(Vec<u8>),
    /// A web page, which nobody wants to read on.
    Page,
}

impl BodyReader {
    /// `limit` in bytes, of an event and of a body that is one JSON text.
    pub fn new(limit: usize, keep_payloads: bool) -> Self {
        Self {
            limit,
            shape: Shape::Unknown,
            chunks: ChunkReader::default(),
            payloads: keep_payloads.then(Vec::new),
        }
    }

    /// Adds what `bytes` say to `deltas`.
    pub fn read(&mut self, mut bytes: &[u8], deltas: &mut Vec<Delta>) -> Option<Ending> {
        if let Shape::Unknown = self.shape {
            // Blank lines, and a byte order mark in either shape, say nothing.
            let blank = |byte: &u8| b" \t\r\n\xef\xbb\xbf".contains(byte);
            let start = bytes.iter().position(|byte| !blank(byte))?;
            bytes = &bytes[start..];
            self.shape = match bytes[0] {
                b'{' | b'[' => Shape::Whole(Vec::new()),
                b'<' => Shape::Page,
                _ => Shape::Events(EventDecoder::new(self.limit)),
            };
        }
        match &mut self.shape {
            Shape::Unknown => None,
            Shape::Page => Some(Err(UpstreamError::new(
                Failure::Unreadable,
                "the upstream answered with a web page; check that its base URL ends in /v1",
            ))),
            Shape::Whole(body) if body.len() + bytes.len() > self.limit => {
                Some(Err(too_large("answer", self.limit)))
            }
            Shape::Whole(body) => {
                body.extend_from_slice(bytes);
                None
            }
            Shape::Events(events) => loop {
                let verdict = match events.next(&mut bytes) {
                    Ok(Some(event)) => {
                        let verdict = self.chunks.read(event.data, event.is_error, deltas);
                        keep(&mut self.payloads, event.data, &verdict);
                        verdict.quoting(event.data)
                    }
                    Ok(None) => return None,
                    Err(_) => Verdict::Failed(too_large("event", self.limit)),
                };
                if let Some(ending) = ending(verdict, &self.chunks) {
                    return Some(ending);
                }
            },
        }
    }

    /// The body ended.
    pub fn end(&mut self, deltas: &mut Vec<Delta>) -> Ending {
        let verdict = match &mut self.shape {
            Shape::Unknown | Shape::Page => Verdict::Failed(UpstreamError::new(
                Failure::Unreadable,
                "the upstream sent an empty answer",
            )),
            Shape::Whole(body) => {
                let verdict = self.chunks.read_whole(body, deltas);
                if let Verdict::Done = verdict {
                    keep(&mut self.payloads, body, &Verdict::GoOn);
                }
                verdict.quoting(body)
            }
            Shape::Events(events) => {
                let last = match events.finish() {
                    Some(event) => {
                        let verdict = self.chunks.read_last(event.data, event.is_error, deltas);
                        keep(&mut self.payloads, event.data, &verdict);
                        verdict.quoting(event.data)
                    }
                    None => Verdict::Skipped,
                };
                match last {
                    Verdict::GoOn | Verdict::Skipped if !events.is_recognized() => {
                        Verdict::Failed(UpstreamError::new(
                            Failure::Unreadable,
                            "the upstream's answer is neither an event stream nor JSON",
                        ))
                    }
                    Verdict::GoOn | Verdict::Skipped => {
                        return self.break_off(UpstreamError::new(
                            Failure::Truncated,
                            "the upstream closed the connection before the answer was done",
                        ));
                    }
                    verdict => verdict,
                }
            }
        };
        ending(verdict, &self.chunks).unwrap_or_else(|| Ok(end(&self.chunks)))
    }

    /// Reading cannot go on, for the reason that `error` gives. After a finish reason nothing was lost.
    pub fn break_off(&mut self, error: UpstreamError) -> Ending {
        match self.chunks.finish_reason() {
            Some(_) => Ok(end(&self.chunks)),
            None => Err(error),
        }
    }

    /// Hands out what waited for more; called once, before the ending is told.
    pub fn finish(&mut self, deltas: &mut Vec<Delta>) {
        self.chunks.finish(deltas);
    }

    /// The payloads since the last call.
    pub fn take_payloads(&mut self) -> Vec<String> {
        self.payloads
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// True when the body is one JSON text.
    pub fn is_whole(&self) -> bool {
        matches!(self.shape, Shape::Whole(_))
    }

    /// How many events, or parts of them, could not be read.
    pub fn skipped(&self) -> u64 {
        self.chunks.skipped()
    }
}

impl Verdict {
    /// An error that the upstream reports keeps the JSON in which it does.
    fn quoting(self, json: &[u8]) -> Self {
        match self {
            Self::Failed(error) if error.kind == Failure::Reported => {
                Self::Failed(error.in_words(json, Vec::new()))
            }
            verdict => verdict,
        }
    }
}

fn keep(payloads: &mut Option<Vec<String>>, data: &[u8], verdict: &Verdict) {
    if let (Some(payloads), Verdict::GoOn) = (payloads, verdict) {
        let payload = String::from_utf8_lossy(data);
        let payload = payload.trim();
        if !payload.is_empty() {
            payloads.push(payload.to_owned());
        }
    }
}

fn ending(verdict: Verdict, chunks: &ChunkReader) -> Option<Ending> {
    match verdict {
        Verdict::GoOn | Verdict::Skipped => None,
        Verdict::Done => Some(Ok(end(chunks))),
        Verdict::Failed(error) => Some(Err(error)),
    }
}

fn end(chunks: &ChunkReader) -> Step {
    Step::End {
        finish_reason: chunks.finish_reason().map(str::to_owned),
    }
}

fn too_large(what: &str, limit: usize) -> UpstreamError {
    UpstreamError::new(
        Failure::TooLarge,
        format!("the upstream sent an {what} of more than {limit} bytes"),
    )
}
