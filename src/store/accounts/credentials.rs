//! Keys, links and logins: what proves who somebody is.

use super::{Credentials, NewKey, NewLogin, Vouched, When};
use crate::{
    model::{Credential, Key, KeyId, Limits, Login, LoginId, User, UserId, now},
    store::{
        Effect, Once, Receipt, SecretHash, StoreError,
        receipts::claim,
        rows::{KeyRow, LoginRow, UserRow, key_columns, login_columns, user_columns},
        sql::{Sql, Time, Tx, execute, json, on, with_commas},
    },
};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, FromRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

/// So many ids are looked up in one statement.
const AT_ONCE: usize = 1000;

/// Keys that hold, and whose they are; the time of asking is `$2`.
const KEYS_THAT_HOLD: &str = concat!(
    "SELECT ",
    user_columns!(u),
    ", k.id AS key_id, k.limits AS key_limits, k.expires_at FROM api_keys k JOIN users u ON u.id = k.user_id
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) AND NOT u.disabled"
);

/// The same of logins; `$3` is the time since which they must have been seen.
const LOGINS_THAT_HOLD: &str = concat!(
    "SELECT ",
    user_columns!(u),
    ", l.id AS login_id, l.key_id, k.limits AS key_limits, l.last_seen_at, l.expires_at, k.expires_at AS key_expires_at
    FROM login_sessions l JOIN users u ON u.id = l.user_id LEFT JOIN api_keys k ON k.id = l.key_id
    WHERE l.expires_at > $2 AND l.last_seen_at > $3 AND NOT u.disabled
        AND (k.id IS NULL OR k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2))"
);

#[derive(FromRow)]
struct KeyThatHolds {
    #[sqlx(flatten)]
    user: UserRow,
    key_id: Uuid,
    key_limits: Json<Limits>,
    expires_at: Option<Time>,
}

impl From<KeyThatHolds> for Vouched {
    fn from(row: KeyThatHolds) -> Self {
        let key = KeyId(row.key_id);
        Self {
            user: row.user.into(),
            credential: Credential::Key(key),
            key: Some(key),
            key_limits: row.key_limits.0,
            key_expires: row.expires_at.is_some(),
            expires_at: row.expires_at.map(|time| time.0),
            last_seen_at: None,
        }
    }
}

#[derive(FromRow)]
struct LoginThatHolds {
    #[sqlx(flatten)]
    user: UserRow,
    login_id: Uuid,
    key_id: Option<Uuid>,
    key_limits: Option<Json<Limits>>,
    last_seen_at: Time,
    expires_at: Time,
    key_expires_at: Option<Time>,
}

impl From<LoginThatHolds> for Vouched {
    fn from(row: LoginThatHolds) -> Self {
        let own = row.expires_at.0;
        let earliest = row.key_expires_at.map_or(own, |key| own.min(key.0));
        Self {
            user: row.user.into(),
            credential: Credential::Login(LoginId(row.login_id)),
            key: row.key_id.map(KeyId),
            key_limits: row.key_limits.map(|limits| limits.0).unwrap_or_default(),
            key_expires: row.key_expires_at.is_some(),
            expires_at: Some(earliest),
            last_seen_at: Some(row.last_seen_at.0),
        }
    }
}

#[async_trait]
impl Credentials for Sql {
    async fn add_key(&self, new: &NewKey<'_>) -> Result<Key, StoreError> {
        let mut tx = self.begin().await?;
        let key = insert_key(&mut tx, new).await?;
        tx.commit().await?;
        Ok(key)
    }

    async fn add_key_within(
        &self,
        new: &NewKey<'_>,
        at_most: i64,
        once: Option<(UserId, &Once, &Receipt)>,
    ) -> Result<Effect<Option<Key>>, StoreError> {
        let mut tx = self.begin().await?;
        if let Some((by, once, receipt)) = once
            && let Some(before) = claim(&mut tx, by, Some((once, receipt))).await?
        {
            tx.rollback().await?;
            return Ok(before);
        }
        if keys_that_hold(&mut tx, new.user).await? >= at_most {
            tx.rollback().await?;
            return Ok(Effect::Done(None));
        }
        let key = insert_key(&mut tx, new).await?;
        tx.commit().await?;
        Ok(Effect::Done(Some(key)))
    }

    async fn keys(&self, of: Option<UserId>) -> Result<Vec<Key>, StoreError> {
        const ALL: &str = concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys ORDER BY created_at, id"
        );
        const OF_ONE: &str = concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys WHERE user_id = $1 ORDER BY created_at, id"
        );
        let rows = match of {
            None => on!(&self.read, c => sqlx::query_as::<_, KeyRow>(ALL).fetch_all(c))?,
            Some(user) => on!(&self.read, c => sqlx::query_as::<_, KeyRow>(OF_ONE)
                .bind(user.0).fetch_all(c))?,
        };
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn revoke_key(&self, id: KeyId, of: Option<UserId>) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2)
            WHERE id = $1 AND user_id = COALESCE($3, user_id)";
        let touched = execute!(
            &self.write,
            sqlx::query(SQL)
                .bind(id.0)
                .bind(Time(now()))
                .bind(of.map(|user| user.0))
        )?;
        Ok(touched > 0)
    }

    async fn user_by_key(
        &self,
        hash: SecretHash,
        when: When,
    ) -> Result<Option<Vouched>, StoreError> {
        let sql = AssertSqlSafe(format!("{KEYS_THAT_HOLD} AND k.hash = $1"));
        let row = on!(&self.read, c => sqlx::query_as::<_, KeyThatHolds>(sql)
            .bind(hash.bytes()).bind(Time(when.now)).fetch_optional(c))?;
        Ok(row.map(Into::into))
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
                .bind(hash.bytes())
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
        const USER: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1");
        let mut tx = self.begin().await?;
        let redeemed = on!(tx.on(), c => sqlx::query_scalar::<_, Uuid>(USE_UP)
            .bind(hash.bytes()).bind(Time(now)).fetch_optional(c))?;
        let Some(user) = redeemed else {
            tx.rollback().await?;
            return Ok(None);
        };
        let row = on!(tx.on(), c => sqlx::query_as::<_, UserRow>(USER).bind(user).fetch_one(c))?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    async fn add_login(&self, new: &NewLogin<'_>, when: When) -> Result<Login, StoreError> {
        const OVER: &str =
            "DELETE FROM login_sessions WHERE expires_at <= $1 OR last_seen_at <= $2";
        const SQL: &str = concat!(
            "INSERT INTO login_sessions
                (id, user_id, key_id, hash, created_at, last_seen_at, expires_at, user_agent, address)
            VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8) RETURNING ",
            login_columns!()
        );
        execute!(
            &self.write,
            sqlx::query(OVER)
                .bind(Time(when.now))
                .bind(Time(when.seen_since()))
        )?;
        let row = on!(&self.write, c => sqlx::query_as::<_, LoginRow>(SQL)
            .bind(LoginId::new().0)
            .bind(new.user.0)
            .bind(new.key.map(|key| key.0))
            .bind(new.hash.bytes())
            .bind(Time(when.now))
            .bind(Time(new.expires_at))
            .bind(new.user_agent)
            .bind(new.address)
            .fetch_one(c))?;
        Ok(row.into())
    }

    async fn logins(&self, of: Option<UserId>, when: When) -> Result<Vec<Login>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            login_columns!(),
            " FROM login_sessions WHERE expires_at > $1 AND last_seen_at > $2
                AND user_id = COALESCE($3, user_id) ORDER BY created_at, id"
        );
        let rows = on!(&self.read, c => sqlx::query_as::<_, LoginRow>(SQL)
            .bind(Time(when.now))
            .bind(Time(when.seen_since()))
            .bind(of.map(|user| user.0))
            .fetch_all(c))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn user_by_login(
        &self,
        hash: SecretHash,
        when: When,
    ) -> Result<Option<Vouched>, StoreError> {
        let sql = AssertSqlSafe(format!("{LOGINS_THAT_HOLD} AND l.hash = $1"));
        let row = on!(&self.read, c => sqlx::query_as::<_, LoginThatHolds>(sql)
            .bind(hash.bytes())
            .bind(Time(when.now))
            .bind(Time(when.seen_since()))
            .fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn end_login(&self, id: LoginId, of: Option<UserId>) -> Result<bool, StoreError> {
        const SQL: &str =
            "DELETE FROM login_sessions WHERE id = $1 AND user_id = COALESCE($2, user_id)";
        let of = of.map(|user| user.0);
        Ok(execute!(&self.write, sqlx::query(SQL).bind(id.0).bind(of))? > 0)
    }

    async fn authorisation_epoch(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT epoch FROM authorisation";
        on!(&self.read, c => sqlx::query_scalar::<_, i64>(SQL).fetch_one(c))
    }

    async fn vouched(
        &self,
        credentials: &[Credential],
        when: When,
    ) -> Result<Vec<Vouched>, StoreError> {
        let list = self.read.list_of_ids();
        let keys = format!("{KEYS_THAT_HOLD} AND k.id IN (SELECT value FROM {list})");
        let logins = format!("{LOGINS_THAT_HOLD} AND l.id IN (SELECT value FROM {list})");
        let mut vouched = Vec::new();
        for some in credentials.chunks(AT_ONCE) {
            let ids = Ids::of(some);
            if !ids.keys.is_empty() {
                let rows = on!(&self.read, c => sqlx::query_as::<_, KeyThatHolds>(AssertSqlSafe(&*keys))
                    .bind(&ids.keys).bind(Time(when.now)).fetch_all(c))?;
                vouched.extend(rows.into_iter().map(Vouched::from));
            }
            if !ids.logins.is_empty() {
                let rows = on!(&self.read, c => sqlx::query_as::<_, LoginThatHolds>(AssertSqlSafe(&*logins))
                    .bind(&ids.logins).bind(Time(when.now)).bind(Time(when.seen_since())).fetch_all(c))?;
                vouched.extend(rows.into_iter().map(Vouched::from));
            }
        }
        Ok(vouched)
    }

    async fn used(&self, credentials: &[Credential], at: OffsetDateTime) -> Result<(), StoreError> {
        let list = self.write.list_of_ids();
        let keys = format!(
            "UPDATE api_keys SET last_used_at = $2 WHERE id IN (SELECT value FROM {list})
                AND (last_used_at IS NULL OR last_used_at < $2)"
        );
        let logins = format!(
            "UPDATE login_sessions SET last_seen_at = $2 WHERE id IN (SELECT value FROM {list})
                AND last_seen_at < $2"
        );
        for some in credentials.chunks(AT_ONCE) {
            let ids = Ids::of(some);
            for (sql, ids) in [(&keys, ids.keys), (&logins, ids.logins)] {
                if !ids.is_empty() {
                    execute!(
                        &self.write,
                        sqlx::query(AssertSqlSafe(&**sql)).bind(&ids).bind(Time(at))
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// As [`list_of_ids`](crate::store::sql::On::list_of_ids) takes them.
struct Ids {
    keys: String,
    logins: String,
}

impl Ids {
    fn of(credentials: &[Credential]) -> Self {
        let key = |credential: &Credential| match credential {
            Credential::Key(id) => Some(id.0.simple()),
            Credential::Login(_) => None,
        };
        let login = |credential: &Credential| match credential {
            Credential::Login(id) => Some(id.0.simple()),
            Credential::Key(_) => None,
        };
        Self {
            keys: with_commas(credentials.iter().filter_map(key)),
            logins: with_commas(credentials.iter().filter_map(login)),
        }
    }
}

async fn insert_key(tx: &mut Tx, new: &NewKey<'_>) -> Result<Key, StoreError> {
    const SQL: &str = concat!(
        "INSERT INTO api_keys (id, user_id, name, prefix, hash, created_at, expires_at, limits)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ",
        key_columns!()
    );
    let limits = json(&new.limits)?;
    let row = on!(tx.on(), c => sqlx::query_as::<_, KeyRow>(SQL)
        .bind(new.id.0)
        .bind(new.user.0)
        .bind(new.name)
        .bind(new.prefix)
        .bind(new.hash.bytes())
        .bind(Time(now()))
        .bind(new.expires_at.map(Time))
        .bind(&limits)
        .fetch_one(c))?;
    Ok(row.into())
}

/// How many there are, which is so until the transaction ends: the user's row is held. By an UPDATE, because SQLite knows no FOR UPDATE.
async fn keys_that_hold(tx: &mut Tx, of: UserId) -> Result<i64, StoreError> {
    const HOLD: &str = "UPDATE users SET name = name WHERE id = $1";
    const COUNT: &str = "SELECT COUNT(*) FROM api_keys
        WHERE user_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    execute!(tx.on(), sqlx::query(HOLD).bind(of.0))?;
    on!(tx.on(), c => sqlx::query_scalar::<_, i64>(COUNT)
        .bind(of.0).bind(Time(now())).fetch_one(c))
}
