//! Keys, links and cookies are 256 random bits, shown once and stored as SHA-256.

use crate::{
    model::{Key, Limits, UserId, now},
    store::{NewKey, SecretHash, Store, StoreError},
};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, time::Duration};
use time::OffsetDateTime;

/// How long a one-time login link is good for.
pub const LINK_LIFETIME: Duration = Duration::from_mins(15);

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

/// A new API key; the text is the key itself, which is never shown again.
pub async fn new_key(
    store: &dyn Store,
    user: UserId,
    name: &str,
    limits: Limits,
    expires_at: Option<OffsetDateTime>,
) -> Result<(Key, String), StoreError> {
    let secret = new_secret("continuo-");
    let new = NewKey {
        user,
        name,
        prefix: &secret[..PREFIX],
        hash: hash_of(&secret),
        limits,
        expires_at,
    };
    Ok((store.add_key(&new).await?, secret))
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
