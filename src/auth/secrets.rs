//! Keys, links and cookies are 256 random bits, shown once and stored as SHA-256.

use crate::{
    model::{Key, KeyId, Limits, UserId, now},
    store::{Effect, NewKey, Once, Receipt, SecretHash, Store, StoreError},
};
use rand::Rng as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, time::Duration};
use time::OffsetDateTime;

/// How long a one-time login link is good for.
pub const LINK_LIFETIME: Duration = Duration::from_mins(15);

/// What an API key begins with.
const KEY: &str = "continuo-";
/// So many characters of a key are shown in lists.
const PREFIX: usize = 12;

/// A new secret: 64 hexadecimal digits after a prefix that says what it is for.
pub(super) fn new_secret(prefix: &str) -> String {
    let mut bits = [0_u8; 32];
    rand::rng().fill_bytes(&mut bits);
    bits.iter().fold(prefix.to_owned(), |mut secret, byte| {
        let _ = write!(secret, "{byte:02x}");
        secret
    })
}

pub fn hash_of(secret: &str) -> SecretHash {
    <[u8; 32]>::from(Sha256::digest(secret.as_bytes())).into()
}

/// Prints the way in: a link with a fresh one-time token in its fragment, which no server and no log ever sees.
pub async fn login_link(
    store: &dyn Store,
    user: UserId,
    origin: &str,
) -> Result<String, StoreError> {
    let token = login_token(store, user).await?;
    Ok(format!("{origin}/#login={token}"))
}

/// The one-time token of such a link.
pub async fn login_token(store: &dyn Store, user: UserId) -> Result<String, StoreError> {
    let token = new_secret("login-");
    store
        .add_login_link(user, hash_of(&token), now() + LINK_LIFETIME)
        .await?;
    Ok(token)
}

/// What is asked for of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyAsked<'a> {
    pub user: UserId,
    pub name: &'a str,
    pub limits: Limits,
    pub expires_at: Option<OffsetDateTime>,
}

impl KeyAsked<'_> {
    fn with<'a>(&'a self, id: KeyId, secret: &'a str) -> NewKey<'a> {
        NewKey {
            id,
            user: self.user,
            name: self.name,
            prefix: &secret[..PREFIX],
            hash: hash_of(secret),
            limits: self.limits,
            expires_at: self.expires_at,
        }
    }
}

/// A new API key; the text is the key itself, which is never shown again.
pub async fn new_key(
    store: &dyn Store,
    user: UserId,
    name: &str,
    limits: Limits,
    expires_at: Option<OffsetDateTime>,
) -> Result<(Key, String), StoreError> {
    let asked = KeyAsked {
        user,
        name,
        limits,
        expires_at,
    };
    let secret = new_secret(KEY);
    let key = store.add_key(&asked.with(KeyId::new(), &secret)).await?;
    Ok((key, secret))
}

/// The same of somebody who may have `at_most`: `None` when they do. Once for an idempotency key, if there is one, of whoever asks; its
/// receipt tells where below `path` the key is, and nothing of the key itself.
pub async fn new_key_within(
    store: &dyn Store,
    asked: &KeyAsked<'_>,
    at_most: i64,
    once: Option<(UserId, &Once)>,
    path: &str,
) -> Result<Effect<Option<(Key, String)>>, StoreError> {
    let (id, secret) = (KeyId::new(), new_secret(KEY));
    let receipt = Receipt {
        location: format!("{path}/{id}"),
        body: Value::Null,
    };
    let once = once.map(|(by, once)| (by, once, &receipt));
    let new = asked.with(id, &secret);
    let added = store.add_key_within(&new, at_most, once).await?;
    Ok(added.map(|key| key.map(|key| (key, secret))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, two) = (new_secret("k-"), new_secret("k-"));
        assert_eq!(one.len(), 2 + 64);
        assert_ne!(one, two);
    }
}
