//! What is kept of a secret.

use std::{
    fmt,
    hash::{Hash, Hasher},
};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a secret; secrets themselves are never stored. Compared in constant time, and not shown.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl From<[u8; 32]> for SecretHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl SecretHash {
    /// As it is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        *self == *other.bytes()
    }
}

impl PartialEq<[u8]> for SecretHash {
    fn eq(&self, other: &[u8]) -> bool {
        self.bytes().ct_eq(other).into()
    }
}

impl Eq for SecretHash {}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_compared_whole_and_shown_to_nobody() {
        let hash = SecretHash::from([0xab; 32]);
        let mut other = [0xab; 32];
        assert!(hash == SecretHash::from(other) && hash == other[..]);
        assert!(hash != other[..31], "a part is not the same");
        other[31] = 0xaa;
        assert!(hash != SecretHash::from(other) && hash != other[..]);
        assert_eq!(format!("{hash:?}"), "SecretHash(…)");
    }
}
