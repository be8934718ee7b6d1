//! Users.

use super::{Accounts, UserChange, UserChanged};
use crate::{
    model::{User, UserId, now},
    store::{
        StoreError,
        rows::{UserRow, user_columns},
        sql::{On, Sql, Time, Tx, execute, json, on},
    },
};
use async_trait::async_trait;

const FIRST_OPERATOR: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users WHERE operator ORDER BY disabled, created_at, id LIMIT 1"
);

const ADD_USER: &str = concat!(
    "INSERT INTO users (id, name, operator, created_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO NOTHING RETURNING ",
    user_columns!()
);

const BY_ID: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1");

/// No row when the name is taken.
macro_rules! insert_user {
    ($name:expr, $operator:expr) => {
        sqlx::query_as::<_, UserRow>(ADD_USER)
            .bind(UserId::new().0)
            .bind($name)
            .bind($operator)
            .bind(Time(now()))
    };
}

#[async_trait]
impl Accounts for Sql {
    async fn ensure_owner(&self, name: &str) -> Result<User, StoreError> {
        if let Some(owner) =
            on!(&self.read, c => sqlx::query_as::<_, UserRow>(FIRST_OPERATOR).fetch_optional(c))?
        {
            return Ok(owner.into());
        }
        let mut tx = self.begin().await?;
        one_at_a_time(&mut tx).await?;
        let found =
            on!(tx.on(), c => sqlx::query_as::<_, UserRow>(FIRST_OPERATOR).fetch_optional(c))?;
        let owner = if let Some(owner) = found {
            owner
        } else {
            on!(tx.on(), c => insert_user!(name, true).fetch_optional(c))?.ok_or_else(|| {
                StoreError::Failed(
                    format!("there is no operator, and {name:?} is a user who is none").into(),
                )
            })?
        };
        tx.commit().await?;
        Ok(owner.into())
    }

    async fn add_user(&self, name: &str, operator: bool) -> Result<Option<User>, StoreError> {
        let row = on!(&self.write, c => insert_user!(name, operator).fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row =
            on!(&self.read, c => sqlx::query_as::<_, UserRow>(BY_ID).bind(id.0).fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError> {
        const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE name = $1");
        let row =
            on!(&self.read, c => sqlx::query_as::<_, UserRow>(SQL).bind(name).fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users ORDER BY created_at, id"
        );
        let rows = on!(&self.read, c => sqlx::query_as::<_, UserRow>(SQL).fetch_all(c))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn change_user(&self, id: UserId, change: UserChange) -> Result<UserChanged, StoreError> {
        const CHANGE: &str = concat!(
            "UPDATE users SET disabled = COALESCE($2, disabled), operator = COALESCE($3, operator),
                limits = COALESCE($4, limits)
            WHERE id = $1 RETURNING ",
            user_columns!()
        );
        const IS_ANYBODY_LEFT: &str =
            "SELECT EXISTS (SELECT 1 FROM users WHERE operator AND NOT disabled)";
        let limits = change.limits.as_ref().map(json).transpose()?;
        let mut tx = self.begin().await?;
        one_at_a_time(&mut tx).await?;
        let before =
            on!(tx.on(), c => sqlx::query_as::<_, UserRow>(BY_ID).bind(id.0).fetch_optional(c))?;
        let Some(before) = before.map(User::from) else {
            tx.rollback().await?;
            return Ok(UserChanged::NotFound);
        };
        let after = on!(tx.on(), c => sqlx::query_as::<_, UserRow>(CHANGE)
            .bind(id.0).bind(change.disabled).bind(change.operator).bind(&limits).fetch_one(c))?;
        let after = User::from(after);
        let may_operate = |user: &User| user.operator && !user.disabled;
        if may_operate(&before)
            && !may_operate(&after)
            && !on!(tx.on(), c => sqlx::query_scalar::<_, bool>(IS_ANYBODY_LEFT).fetch_one(c))?
        {
            tx.rollback().await?;
            return Ok(UserChanged::LastOperator);
        }
        tx.commit().await?;
        Ok(UserChanged::Done(after))
    }
}

/// Of two who look whether there is an operator the later one waits here, then sees what the other did. SQLite has one writer anyway.
async fn one_at_a_time(tx: &mut Tx) -> Result<(), StoreError> {
    if let On::Postgres(_) = tx {
        execute!(
            tx.on(),
            sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
        )?;
    }
    Ok(())
}
