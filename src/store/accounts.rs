//! Users and what proves who they are.

use super::{
    Accounts, SecretHash, StoreError,
    rows::{CredentialRow, KeyRow, UserRow},
    sql::{On, Sql, Time, execute, on},
};
use crate::model::{Key, KeyId, LoginId, User, UserId, now};
use async_trait::async_trait;
use time::OffsetDateTime;

const FIRST_OPERATOR: &str = "SELECT id, name, operator, disabled, created_at FROM users
    WHERE operator ORDER BY disabled, created_at, id LIMIT 1";

const ADD_USER: &str = "INSERT INTO users (id, name, operator, created_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO NOTHING RETURNING id, name, operator, disabled, created_at";

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
        if let On::Postgres(_) = tx {
            // Of two who find no operator the later one waits here, then finds the other's. SQLite has one writer anyway.
            execute!(
                tx.on(),
                sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            )?;
        }
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

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError> {
        const SQL: &str =
            "SELECT id, name, operator, disabled, created_at FROM users WHERE name = $1";
        let row =
            on!(&self.read, c => sqlx::query_as::<_, UserRow>(SQL).bind(name).fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        const SQL: &str =
            "SELECT id, name, operator, disabled, created_at FROM users ORDER BY created_at, id";
        let rows = on!(&self.read, c => sqlx::query_as::<_, UserRow>(SQL).fetch_all(c))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn set_user_disabled(&self, id: UserId, disabled: bool) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET disabled = $2 WHERE id = $1";
        let touched = execute!(&self.write, sqlx::query(SQL).bind(id.0).bind(disabled))?;
        Ok(touched > 0)
    }

    async fn add_key(&self, user: UserId, name: &str, hash: SecretHash) -> Result<Key, StoreError> {
        const SQL: &str = "INSERT INTO api_keys (id, user_id, name, hash, created_at)
            VALUES ($1, $2, $3, $4, $5) RETURNING id, user_id, name, revoked, created_at";
        let (id, at) = (KeyId::new(), now());
        let row = on!(&self.write, c => sqlx::query_as::<_, KeyRow>(SQL)
            .bind(id.0).bind(user.0).bind(name).bind(&hash[..]).bind(Time(at)).fetch_one(c))?;
        Ok(row.into())
    }

    async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        const SQL: &str =
            "SELECT id, user_id, name, revoked, created_at FROM api_keys ORDER BY created_at, id";
        let rows = on!(&self.read, c => sqlx::query_as::<_, KeyRow>(SQL).fetch_all(c))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn revoke_key(&self, id: KeyId) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE api_keys SET revoked = true WHERE id = $1";
        Ok(execute!(&self.write, sqlx::query(SQL).bind(id.0))? > 0)
    }

    async fn user_by_key(&self, hash: SecretHash) -> Result<Option<(User, KeyId)>, StoreError> {
        const SQL: &str =
            "SELECT u.id, u.name, u.operator, u.disabled, u.created_at, k.id AS credential_id
            FROM api_keys k JOIN users u ON u.id = k.user_id
            WHERE k.hash = $1 AND NOT k.revoked AND NOT u.disabled";
        let row = on!(&self.read, c => sqlx::query_as::<_, CredentialRow>(SQL)
            .bind(&hash[..]).fetch_optional(c))?;
        Ok(row.map(|row| (row.user.into(), KeyId(row.credential_id))))
    }

    async fn add_login_link(
        &self,
        user: UserId,
        hash: SecretHash,
        expires: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const EXPIRED: &str = "DELETE FROM login_links WHERE expires_at <= $1";
        const SQL: &str = "INSERT INTO login_links (hash, user_id, expires_at) VALUES ($1, $2, $3)";
        execute!(&self.write, sqlx::query(EXPIRED).bind(Time(now())))?;
        execute!(
            &self.write,
            sqlx::query(SQL)
                .bind(&hash[..])
                .bind(user.0)
                .bind(Time(expires))
        )?;
        Ok(())
    }

    async fn redeem_login_link(
        &self,
        hash: SecretHash,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        // The later of two waits for the row, then finds it gone.
        const USE_UP: &str = "DELETE FROM login_links WHERE hash = $1 AND expires_at > $2
            AND user_id IN (SELECT id FROM users WHERE NOT disabled) RETURNING user_id";
        const USER: &str =
            "SELECT id, name, operator, disabled, created_at FROM users WHERE id = $1";
        let mut tx = self.begin().await?;
        let redeemed = on!(tx.on(), c => sqlx::query_scalar::<_, uuid::Uuid>(USE_UP)
            .bind(&hash[..]).bind(Time(now)).fetch_optional(c))?;
        let Some(user) = redeemed else {
            tx.rollback().await?;
            return Ok(None);
        };
        let row = on!(tx.on(), c => sqlx::query_as::<_, UserRow>(USER).bind(user).fetch_one(c))?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    async fn add_login(
        &self,
        user: UserId,
        key: Option<KeyId>,
        hash: SecretHash,
        expires: OffsetDateTime,
    ) -> Result<LoginId, StoreError> {
        const EXPIRED: &str = "DELETE FROM login_sessions WHERE expires_at <= $1";
        const SQL: &str = "INSERT INTO login_sessions (id, user_id, key_id, hash, expires_at)
            VALUES ($1, $2, $3, $4, $5)";
        let id = LoginId::new();
        execute!(&self.write, sqlx::query(EXPIRED).bind(Time(now())))?;
        execute!(
            &self.write,
            sqlx::query(SQL)
                .bind(id.0)
                .bind(user.0)
                .bind(key.map(|key| key.0))
                .bind(&hash[..])
                .bind(Time(expires))
        )?;
        Ok(id)
    }

    async fn user_by_login(
        &self,
        hash: SecretHash,
        now: OffsetDateTime,
    ) -> Result<Option<(User, LoginId)>, StoreError> {
        const SQL: &str =
            "SELECT u.id, u.name, u.operator, u.disabled, u.created_at, l.id AS credential_id
            FROM login_sessions l JOIN users u ON u.id = l.user_id LEFT JOIN api_keys k ON k.id = l.key_id
            WHERE l.hash = $1 AND l.expires_at > $2 AND NOT u.disabled AND k.revoked IS NOT TRUE";
        let row = on!(&self.read, c => sqlx::query_as::<_, CredentialRow>(SQL)
            .bind(&hash[..]).bind(Time(now)).fetch_optional(c))?;
        Ok(row.map(|row| (row.user.into(), LoginId(row.credential_id))))
    }

    async fn end_login(&self, id: LoginId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM login_sessions WHERE id = $1";
        execute!(&self.write, sqlx::query(SQL).bind(id.0)).map(|_| ())
    }
}
