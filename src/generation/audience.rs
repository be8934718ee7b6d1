//! Those for whom an answer is written: when the last of them leaves, it stops.
//!
//! Clients of `/v1` expect that an answer that nobody reads any more costs nothing. Their readers share the audience, a place in
//! memory and nothing else; an answer without one (`x-continuo-detach`) goes on whoever leaves.

use super::Generation;
use crate::{
    cursor::{Frame, Log},
    log::EventLog,
    model::Outcome,
};
use std::sync::Arc;
use tokio::sync::watch;

/// The payloads of a generation as its audience reads them.
#[derive(Debug)]
pub struct Audience {
    generation: Arc<Generation>,
}

impl Generation {
    /// Its first reader; others come by [`Self::payloads`].
    pub fn audience(self: &Arc<Self>) -> Arc<Audience> {
        let audience = Arc::new(Audience {
            generation: self.clone(),
        });
        let mut own = self.audience.lock().expect("nothing panics under it");
        *own = Arc::downgrade(&audience);
        audience
    }

    /// The log of its payloads, for one more reader, who belongs to the audience while there is one. `None` when it has no payloads.
    pub fn payloads(&self) -> Option<Arc<dyn Log>> {
        let payloads = self.payloads.as_ref()?;
        let audience = self.audience.lock().expect("nothing panics under it");
        Some(match audience.upgrade() {
            Some(audience) => audience,
            None => payloads.clone(),
        })
    }
}

impl Audience {
    fn log(&self) -> &EventLog {
        self.generation
            .payloads
            .as_ref()
            .unwrap_or(&self.generation.log)
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        // Changes nothing after the end.
        self.generation.end(Outcome::Stopped);
    }
}

impl Log for Audience {
    fn read(&self, after: u64) -> Vec<Frame> {
        self.log().read(after)
    }

    fn tail(&self) -> &watch::Sender<u64> {
        self.log().tail()
    }

    fn ends_at(&self, after: u64) -> bool {
        self.log().ends_at(after)
    }
}
