//! An answer that is being read: one step a read, each with its deadline.

use super::{
    Delta, Failure, Step, UpstreamError,
    body::{BodyReader, Ending},
    client::Inner,
    deadline::Deadline,
    response,
};
use awc::ClientResponse;
use futures_util::{FutureExt, StreamExt};
use std::{pin::Pin, rc::Rc};
use tokio::{
    task::coop::consume_budget,
    time::{Instant, Sleep, sleep_until},
};

/// An answer that is being read. Dropping it closes the socket at once.
pub struct Completion {
    inner: Rc<Inner>,
    /// `None` once the ending is known: the socket is closed, or kept alive for another request.
    response: Option<ClientResponse>,
    reader: BodyReader,
    total: Deadline,
    /// Rings at the deadline of some read before, or of this one: it is moved when it rings, not for each read.
    timer: Pin<Box<Sleep>>,
    is_started: bool,
    warned: bool,
    /// What the next call tells, when the last read brought deltas too.
    ending: Option<Ending>,
}

impl Completion {
    pub(super) fn new(
        inner: Rc<Inner>,
        response: ClientResponse,
        total: Deadline,
        keep_payloads: bool,
    ) -> Self {
        let reader = BodyReader::new(inner.options.event_bytes, keep_payloads);
        Self {
            inner,
            response: Some(response),
            reader,
            timer: Box::pin(sleep_until(total.at)),
            total,
            is_started: false,
            warned: false,
            ending: None,
        }
    }

    /// What the next read brought. After `Step::End` or an error it must not be called again.
    ///
    /// Cancel safe: a future that is dropped before it resolves has taken nothing.
    pub async fn next(&mut self) -> Result<Step, UpstreamError> {
        let mut deltas = Vec::new();
        if self.ending.is_none() {
            self.ending = self.read(&mut deltas).await;
            if self.ending.is_some() {
                self.reader.finish(&mut deltas);
                self.release();
            }
            self.warn_once();
        }
        match self.ending.take() {
            Some(ending) if deltas.is_empty() => ending.map_err(|error| self.inner.clean(error)),
            ending => {
                self.ending = ending;
                Ok(Step::Deltas(deltas))
            }
        }
    }

    /// The payloads behind the steps since the last call, byte for byte: chunks, or one whole answer. Errors, `[DONE]` and what
    /// could not be read are not among them. Only of an answer to [`Upstream::relay`](super::Upstream::relay).
    pub fn take_payloads(&mut self) -> Vec<String> {
        self.reader.take_payloads()
    }

    /// True when the answer came as one JSON text, whatever was asked for. Known once a step brought something.
    pub fn is_whole(&self) -> bool {
        self.reader.is_whole()
    }

    /// How many events, or parts of them, were unreadable and left out so far.
    pub fn skipped(&self) -> u64 {
        self.reader.skipped()
    }

    async fn read(&mut self, deltas: &mut Vec<Delta>) -> Option<Ending> {
        // One read of the socket may bring hundreds of chunks that are all there at once. Without a pause between them a fast upstream
        // would hold up whatever else runs on this thread, the stop of this very answer included.
        consume_budget().await;
        let options = &self.inner.options;
        let now = Instant::now();
        let patience = if self.is_started {
            Deadline::from(now, options.silence, Failure::Silent)
        } else {
            Deadline::from(now, options.first_byte, Failure::Late)
        };
        let patience = patience.or_earlier(self.total);
        if patience.at <= now {
            // Looked at here, because below the clock is looked at only when there is nothing to read.
            self.response = None;
            return Some(self.reader.break_off(patience.error()));
        }
        let Some(response) = &mut self.response else {
            return Some(Err(UpstreamError::new(
                Failure::Truncated,
                "the answer has ended",
            )));
        };
        if patience.at < self.timer.deadline() {
            self.timer.as_mut().reset(patience.at);
        }
        let read = loop {
            tokio::select! {
                biased;
                read = response.next() => break Some(read),
                () = &mut self.timer => {
                    if patience.at <= Instant::now() {
                        break None;
                    }
                    self.timer.as_mut().reset(patience.at);
                }
            }
        };
        if let Some(Some(Ok(bytes))) = read {
            self.is_started = true;
            return self.reader.read(&bytes, deltas);
        }
        // awc panics when it is asked again after the end of a body.
        self.response = None;
        Some(match read {
            Some(Some(Err(error))) => self.reader.break_off(response::broken(&error)),
            Some(_) => self.reader.end(deltas),
            None => self.reader.break_off(patience.error()),
        })
    }

    /// Lets go of the connection: kept alive when the end of the body is already here, as it is after most `[DONE]`s, else closed.
    fn release(&mut self) {
        if let Some(mut response) = self.response.take()
            && matches!(self.ending, Some(Ok(_)))
        {
            let _ = response.next().now_or_never();
        }
    }

    fn warn_once(&mut self) {
        if self.skipped() > 0 && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                upstream.skipped = self.skipped(),
                "left out what the upstream sent in an unreadable event"
            );
        }
    }
}
