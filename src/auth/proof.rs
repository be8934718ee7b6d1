//! What a request brings to show who sent it.

use super::{Auth, hash_of};
use crate::{client::Client, store::SecretHash};
use actix_web::{HttpRequest, http::header};

/// By what somebody says who they are. A cookie is no key, so each is remembered as what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    Key(SecretHash),
    Login(SecretHash),
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
