//! What a request brings to show who sent it.

use super::{Auth, hash_of};
use crate::{client::Client, store::SecretHash};
use actix_web::{HttpRequest, http::header};
use std::{
    fmt,
    hash::{Hash, Hasher},
};
use subtle::ConstantTimeEq as _;

/// By what somebody says who they are. A cookie is no key, so each is remembered as what it was.
#[derive(Clone, Copy)]
pub(super) enum Proof {
    Key(SecretHash),
    Login(SecretHash),
}

impl Proof {
    fn parts(&self) -> (bool, &SecretHash) {
        match self {
            Self::Key(hash) => (true, hash),
            Self::Login(hash) => (false, hash),
        }
    }
}

/// In constant time, as secrets are compared.
impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        let ((is_key, hash), (is_key_too, other)) = (self.parts(), other.parts());
        is_key == is_key_too && bool::from(hash[..].ct_eq(&other[..]))
    }
}

impl Eq for Proof {}

impl Hash for Proof {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// Not what it is.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::Login(_) => "Login(…)",
        })
    }
}

impl Auth {
    pub(super) fn proof(&self, request: &HttpRequest) -> Option<Proof> {
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            // A key that is wrong is not made up for by a cookie that is right.
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            let bearer = scheme.eq_ignore_ascii_case("bearer");
            return bearer.then(|| Proof::Key(hash_of(key.trim())));
        }
        let cookie = request.cookie(&self.cookie_name(Client::of(request)))?;
        Some(Proof::Login(hash_of(cookie.value())))
    }
}
