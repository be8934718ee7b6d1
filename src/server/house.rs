//! What goes on beside the requests: letting go of what was kept long enough, and indexing what is new. None of it ends by itself.

use crate::{chat::Chat, model::now, store::Store, text::with_causes};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How often texts are looked for that are worth indexing, and again when the database did not take them.
const INDEX_EVERY: Duration = Duration::from_secs(5);
const INDEX_AGAIN: Duration = Duration::from_secs(30);
/// How often ended logs are let go.
const RELEASE_EVERY: Duration = Duration::from_secs(5);
/// How long receipts of idempotency keys are kept, and how often what is too old is forgotten.
const RECEIPTS_KEPT: Duration = Duration::from_hours(24);
/// How long it is known what was spent.
const SPENDINGS_KEPT: Duration = Duration::from_hours(40 * 24);
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// How often, at most and at least, deleted conversations are looked for.
const PURGE_AT_MOST: Duration = Duration::from_secs(1);
const PURGE_AT_LEAST: Duration = Duration::from_secs(30);

/// Lets go of what has been kept long enough.
pub(super) async fn keep_house(chat: &Chat, events_kept: Duration) {
    let mut release = interval(RELEASE_EVERY);
    let mut forget = interval(FORGET_EVERY);
    loop {
        tokio::select! {
            _ = release.tick() => {
                chat.registry.release_ended();
                chat.feeds.release();
            }
            _ = forget.tick() => {
                let forgotten = async {
                    chat.store.forget_receipts(now() - RECEIPTS_KEPT).await?;
                    let today = chat.registry.ledger.today();
                    chat.store.forget_spendings(today - SPENDINGS_KEPT).await?;
                    chat.store.forget_events(now() - events_kept).await
                };
                if let Err(error) = forgotten.await {
                    tracing::warn!(error = with_causes(&error), "old idempotency keys and events stay a while longer");
                }
            }
        }
    }
}

/// Deletes for good what nobody took back in time.
pub(super) async fn purge(store: &dyn Store, undo: Duration) {
    let mut ticks = interval((undo / 4).clamp(PURGE_AT_MOST, PURGE_AT_LEAST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.purge_conversations(undo).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "deleted conversations are gone for good"),
            Err(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "deleted conversations stay a while longer"
                );
            }
        }
    }
}

/// Indexes texts, so that they are found fast. At most half of the time, so that others get at the database and the processor.
pub(super) async fn index(store: &dyn Store) {
    loop {
        let begun = Instant::now();
        let pause = match store.index_texts().await {
            Ok(true) => begun.elapsed().min(INDEX_EVERY),
            Ok(false) => INDEX_EVERY,
            Err(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "new texts are found slowly a while longer"
                );
                INDEX_AGAIN
            }
        };
        sleep(pause).await;
    }
}
