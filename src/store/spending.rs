//! What generations cost: a row for each and for everybody whom it is counted to.

use super::{
    Spendings, StoreError,
    sql::{Sql, execute, failed, on, with_commas},
};
use crate::model::Spending;
use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use time::Date;
use uuid::Uuid;

#[async_trait]
impl Spendings for Sql {
    async fn add_spendings(&self, spendings: &[Spending]) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO tokens_spent
                (generation_id, spender_id, day, prompt_tokens, completion_tokens, estimated)
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (generation_id, spender_id) DO NOTHING";
        let mut tx = self.begin().await?;
        for spending in spendings {
            let usage = spending.usage;
            // A number that no column holds is no number of tokens.
            let tokens = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::from(u32::MAX));
            for spender in spending.spenders() {
                execute!(
                    tx.on(),
                    sqlx::query(SQL)
                        .bind(spending.generation.0)
                        .bind(spender)
                        .bind(day(spending.day))
                        .bind(tokens(usage.prompt_tokens))
                        .bind(tokens(usage.completion_tokens))
                        .bind(usage.estimated)
                )?;
            }
        }
        tx.commit().await
    }

    async fn tokens_spent(
        &self,
        on_day: Date,
        spenders: &[Uuid],
    ) -> Result<Vec<(Uuid, u64)>, StoreError> {
        if spenders.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.read.list_of_ids();
        let sql = AssertSqlSafe(format!(
            "SELECT spender_id, CAST(SUM(prompt_tokens + completion_tokens) AS bigint) FROM tokens_spent
            WHERE day = $2 AND spender_id IN (SELECT value FROM {list}) GROUP BY spender_id"
        ));
        let ids = with_commas(spenders.iter().map(Uuid::as_simple));
        let rows = on!(&self.read, c => sqlx::query_as::<_, (Uuid, i64)>(sql)
            .bind(&ids).bind(day(on_day)).fetch_all(c))?;
        let spent = |spender: &Uuid| {
            let row = rows.iter().find(|(id, _)| id == spender);
            let tokens = row.map_or(Ok(0), |(_, tokens)| u64::try_from(*tokens).map_err(failed))?;
            Ok((*spender, tokens))
        };
        spenders.iter().map(spent).collect()
    }

    async fn forget_spendings(&self, before: Date) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM tokens_spent WHERE day < $1";
        execute!(&self.write, sqlx::query(SQL).bind(day(before)))
    }
}

/// As it is stored: days sort and count.
fn day(date: Date) -> i64 {
    i64::from(date.to_julian_day())
}
