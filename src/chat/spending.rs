//! Tokens a day: whether one more answer may begin, and writing down what the ended ones cost.

use super::{Chat, StartError};
use crate::{model::Spending, standing::Standing, store::StoreError, text::with_causes};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

/// So many are written down in one transaction.
const AT_ONCE: usize = 200;
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

impl Chat {
    /// Refuses when the day's tokens are spent. Those that run are not counted yet: of a user as many go beyond as may run at once.
    ///
    /// The store is asked now and then, because other nodes spend too. While it does not answer, what it said is believed.
    pub(super) async fn admit(&self, standing: &Standing) -> Result<(), StartError> {
        let ledger = &self.registry.ledger;
        let unknown = ledger.unknown(standing);
        if !unknown.is_empty() {
            let day = ledger.today();
            match self.store.tokens_spent(day, &unknown).await {
                Ok(said) => ledger.learn(day, &said),
                Err(error) if ledger.admit(standing) == Ok(false) => return Err(error.into()),
                Err(_) => {}
            }
        }
        ledger.admit(standing).map_err(StartError::Spent)?;
        Ok(())
    }

    /// Writes down what ended generations cost, as soon as they have. Never ends.
    pub async fn write_down_spendings(&self) {
        loop {
            self.registry.ledger.something_to_save().await;
            while let Err(error) = self.write_down().await {
                tracing::debug!(error = with_causes(&error), "tokens are written down later");
                sleep(AGAIN).await;
            }
        }
    }

    /// The same once, of all that there is. Not beside itself.
    pub async fn write_down(&self) -> Result<(), StoreError> {
        let ledger = &self.registry.ledger;
        loop {
            let some = ledger.unsaved(AT_ONCE);
            if some.is_empty() {
                return Ok(());
            }
            self.store.add_spendings(&some).await?;
            let day = ledger.today();
            let spenders: BTreeSet<_> = some.iter().flat_map(Spending::spenders).collect();
            let spenders: Vec<_> = spenders.into_iter().collect();
            let said = self.store.tokens_spent(day, &spenders).await?;
            ledger.saved(some.len(), day, &said);
        }
    }
}
