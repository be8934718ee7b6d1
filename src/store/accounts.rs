//! Accounts and what proves who somebody is: the contract, and its two halves.
//!
//! Whatever takes something away (a revoked key, an ended login, a user disabled or demoted) raises the authorisation epoch in the
//! same transaction, by triggers: no statement can forget it, and none that was made by hand either.

mod credentials;
mod users;

use super::{Effect, Once, Receipt, SecretHash, StoreError};
use crate::model::{Credential, Key, KeyId, Limits, Login, LoginId, User, UserId};
use async_trait::async_trait;
use std::time::Duration;
use time::OffsetDateTime;

#[async_trait]
pub trait Accounts {
    /// The first operator who is not disabled, else the first; created with `name` when there is none. Safe when several processes
    /// start at once. Fails when there is none and the name is taken: nobody is made an operator unasked.
    async fn ensure_owner(&self, name: &str) -> Result<User, StoreError>;
    /// `None` when the name is taken.
    async fn add_user(&self, name: &str, operator: bool) -> Result<Option<User>, StoreError>;
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError>;
    /// All, oldest first.
    async fn users(&self) -> Result<Vec<User>, StoreError>;
    /// Refused when it would leave nobody who is an operator and not disabled, also when two at once would.
    async fn change_user(&self, id: UserId, change: UserChange) -> Result<UserChanged, StoreError>;
}

/// What to change of a user.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserChange {
    pub disabled: Option<bool>,
    pub operator: Option<bool>,
    /// All of them.
    pub limits: Option<Limits>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum UserChanged {
    Done(User),
    NotFound,
    /// Nobody would be left to let anybody in.
    LastOperator,
}

#[async_trait]
pub trait Credentials {
    async fn add_key(&self, new: &NewKey<'_>) -> Result<Key, StoreError>;
    /// The same, once for an idempotency key of whoever asks for it, who may be somebody else. `None` when its user has `at_most` keys that
    /// are neither revoked nor over, also of many at once.
    async fn add_key_within(
        &self,
        new: &NewKey<'_>,
        at_most: i64,
        once: Option<(UserId, &Once, &Receipt)>,
    ) -> Result<Effect<Option<Key>>, StoreError>;
    /// This user's, or all, oldest first; revoked and expired ones too.
    async fn keys(&self, of: Option<UserId>) -> Result<Vec<Key>, StoreError>;
    /// Of this user, or anybody's. The first revocation's time stays. False when there is no such key.
    async fn revoke_key(&self, id: KeyId, of: Option<UserId>) -> Result<bool, StoreError>;
    /// Who has a key that is not revoked and has not expired, unless disabled.
    async fn user_by_key(
        &self,
        hash: SecretHash,
        when: When,
    ) -> Result<Option<Vouched>, StoreError>;

    /// A one-time login link; expired ones are deleted on the way.
    async fn add_login_link(
        &self,
        user: UserId,
        hash: SecretHash,
        expires: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// Uses up a link: of two at once exactly one succeeds. `None` when unknown, used, expired, or its user disabled.
    async fn redeem_login_link(
        &self,
        hash: SecretHash,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError>;
    /// A login, which ends with the key that logged in, if it was one; those that are over are deleted on the way.
    async fn add_login(&self, new: &NewLogin<'_>, when: When) -> Result<Login, StoreError>;
    /// This user's, or all, oldest first; none that is over.
    async fn logins(&self, of: Option<UserId>, when: When) -> Result<Vec<Login>, StoreError>;
    /// Who has a login that has not expired, was seen, and whose key, if any, still holds; unless disabled.
    async fn user_by_login(
        &self,
        hash: SecretHash,
        when: When,
    ) -> Result<Option<Vouched>, StoreError>;
    /// Of this user, or anybody's. False when there is no such login.
    async fn end_login(&self, id: LoginId, of: Option<UserId>) -> Result<bool, StoreError>;

    /// Rises with everything that takes something away, never falls.
    async fn authorisation_epoch(&self) -> Result<i64, StoreError>;
    /// Those of these credentials that hold, as the look-ups by their hashes would say.
    async fn vouched(
        &self,
        credentials: &[Credential],
        when: When,
    ) -> Result<Vec<Vouched>, StoreError>;
    /// These were used at about this time; an earlier one than is known changes nothing.
    async fn used(&self, credentials: &[Credential], at: OffsetDateTime) -> Result<(), StoreError>;
}

/// A key about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    pub id: KeyId,
    pub user: UserId,
    pub name: &'a str,
    /// The first characters of the key.
    pub prefix: &'a str,
    pub hash: SecretHash,
    pub limits: Limits,
    pub expires_at: Option<OffsetDateTime>,
}

/// A login about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewLogin<'a> {
    pub user: UserId,
    pub key: Option<KeyId>,
    pub hash: SecretHash,
    pub expires_at: OffsetDateTime,
    pub user_agent: Option<&'a str>,
    pub address: Option<&'a str>,
}

/// When it is asked, and how long a login may go unseen.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub now: OffsetDateTime,
    pub idle: Duration,
}

impl When {
    /// Logins that were not seen since then are over.
    pub fn seen_since(self) -> OffsetDateTime {
        self.now - self.idle
    }
}

/// What the store says of a credential that holds.
#[derive(Debug, Clone)]
pub struct Vouched {
    pub user: User,
    pub credential: Credential,
    /// The key, or the one that logged in.
    pub key: Option<KeyId>,
    pub key_limits: Limits,
    pub key_expires: bool,
    /// When it ends by itself: of a login with its key, if that is earlier.
    pub expires_at: Option<OffsetDateTime>,
    /// Of a login: when it was seen.
    pub last_seen_at: Option<OffsetDateTime>,
}
