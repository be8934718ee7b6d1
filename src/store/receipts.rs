//! Receipts: what was answered under an `Idempotency-Key`, kept with the effect in one transaction.

use super::{
    Effect, Once, Receipt, StoreError,
    sql::{Sql, Time, Tx, execute, json, on},
};
use crate::model::{UserId, now};
use sqlx::{FromRow, types::Json};
use time::Duration;

/// How long a receipt counts. An older one is as if it were not there.
const LIFETIME: Duration = Duration::hours(24);

const KEPT: &str = "SELECT fingerprint, receipt FROM idempotency_keys
    WHERE owner_id = $1 AND key = $2 AND created_at >= $3";

#[derive(FromRow)]
struct ReceiptRow {
    fingerprint: Vec<u8>,
    receipt: Json<Receipt>,
}

impl ReceiptRow {
    fn effect<T>(self, once: &Once) -> Effect<T> {
        if once.fingerprint == self.fingerprint[..] {
            Effect::Before(self.receipt.0)
        } else {
            Effect::KeyReused
        }
    }
}

/// Keeps the receipt for an effect that is about to happen in `tx`, unless the key was used before. A concurrent twin waits here
/// until this transaction ends: the key is the first thing that every effect writes.
pub(super) async fn claim<T>(
    tx: &mut Tx,
    owner: UserId,
    once: Option<(&Once, &Receipt)>,
) -> Result<Option<Effect<T>>, StoreError> {
    const CLAIM: &str = "INSERT INTO idempotency_keys (owner_id, key, fingerprint, receipt, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (owner_id, key) DO UPDATE SET
            fingerprint = excluded.fingerprint, receipt = excluded.receipt, created_at = excluded.created_at
        WHERE idempotency_keys.created_at < $6";
    let Some((once, receipt)) = once else {
        return Ok(None);
    };
    let receipt = json(receipt)?;
    let at = now();
    let valid_from = Time(at - LIFETIME);
    let claimed = execute!(
        tx.on(),
        sqlx::query(CLAIM)
            .bind(owner.0)
            .bind(&once.key)
            .bind(once.fingerprint.bytes())
            .bind(&receipt)
            .bind(Time(at))
            .bind(valid_from)
    )?;
    if claimed > 0 {
        return Ok(None);
    }
    // The conflict locked the row, so it is still there.
    let kept = on!(tx.on(), c => sqlx::query_as::<_, ReceiptRow>(KEPT)
        .bind(owner.0).bind(&once.key).bind(valid_from).fetch_one(c))?;
    Ok(Some(kept.effect(once)))
}

/// What was answered under this key, if anything.
pub(super) async fn kept(
    sql: &Sql,
    owner: UserId,
    once: &Once,
) -> Result<Option<Effect<()>>, StoreError> {
    let valid_from = Time(now() - LIFETIME);
    let kept = on!(&sql.read, c => sqlx::query_as::<_, ReceiptRow>(KEPT)
        .bind(owner.0).bind(&once.key).bind(valid_from).fetch_optional(c))?;
    Ok(kept.map(|kept| kept.effect(once)))
}
