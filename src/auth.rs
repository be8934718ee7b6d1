//! Who is asking, and what nobody may: API keys, login cookies and one-time links; the walls.
//!
//! A handler that takes [`CurrentUser`] is authenticated and shows it in its signature; one that takes [`Operator`] is for operators.
//! Whom the store vouched for is [`Known`], until a look at its authorisation epoch says that something was taken away.

mod identity;
mod known;
mod proof;
mod secrets;
mod told;
mod walls;
mod watch;

pub use identity::{CurrentUser, Operator, Unrestricted, identify};
pub use known::Known;
pub use secrets::{
    KeyAsked, LINK_LIFETIME, hash_of, login_link, login_token, new_key, new_key_within,
};
pub use walls::walls;

use crate::{
    client::Client,
    clock::Clock,
    limits::{Ledger, Logins, Requests},
    model::{Credential, KeyId, LoginId, UserId},
    store::{NewLogin, Store, StoreError, UserChange, UserChanged, When},
};
use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration as CookieAge},
};
use proof::Proof;
use secrets::new_secret;
use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

/// What the extractors need.
pub struct Auth {
    pub store: Arc<dyn Store>,
    pub known: Known,
    pub requests: Requests,
    pub ledger: Arc<Ledger>,
    pub logins: Logins,
    pub clock: Clock,
    /// Carries the port: two servers on one host do not overwrite each other's cookie.
    pub cookie_name: String,
    pub login_lifetime: Duration,
    /// A login that is not seen for so long is over.
    pub login_idle: Duration,
    /// Names besides the loopback's own that a `Host` header may have. Empty, and not bound to loopback: any.
    pub allowed_hosts: Vec<String>,
    pub bound_to: SocketAddr,
}

/// Who logs in, as far as their owner wants to know later.
#[derive(Debug, Clone)]
pub struct Browser {
    pub user_agent: Option<String>,
    pub client: Client,
}

impl Auth {
    /// Now, and how long a login may go unseen.
    pub fn when(&self) -> When {
        When {
            now: self.clock.now(),
            idle: self.login_idle,
        }
    }

    /// Logs in with a one-time token or an API key; the cookie to set. A login by a key dies with the key.
    pub async fn log_in(
        &self,
        token: &str,
        browser: &Browser,
    ) -> Result<Option<(CurrentUser, Cookie<'static>)>, StoreError> {
        let (hash, when) = (hash_of(token), self.when());
        let (user, key) = match self.store.redeem_login_link(hash, when.now).await? {
            Some(user) => (user.id, None),
            None => match self.store.user_by_key(hash, when).await? {
                Some(vouched) => (vouched.user.id, vouched.key),
                None => return Ok(None),
            },
        };
        let secret = new_secret("");
        let hash = hash_of(&secret);
        let address = browser.client.address.map(|address| address.to_string());
        let new = NewLogin {
            user,
            key,
            hash,
            expires_at: when.now + self.login_lifetime,
            user_agent: browser.user_agent.as_deref(),
            address: address.as_deref(),
        };
        self.store.add_login(&new, when).await?;
        let current = self.ask(Proof::Login(hash)).await?;
        Ok(current.map(|current| {
            (
                current,
                self.cookie(secret, self.login_lifetime, browser.client),
            )
        }))
    }

    /// Ends a login and what it began, of this user or anybody's; false when there is none. It is not believed any more even when the
    /// store cannot be told, which is an error.
    pub async fn end_login(&self, id: LoginId, of: Option<UserId>) -> Result<bool, StoreError> {
        let ended = self.store.end_login(id, of).await;
        if !matches!(ended, Ok(false)) {
            // After the store's answer: until then it may vouch for them once more.
            self.known.end(Credential::Login(id));
        }
        ended
    }

    /// Revokes a key, of this user or anybody's, and ends what it and its logins began; false when there is none.
    pub async fn revoke_key(&self, id: KeyId, of: Option<UserId>) -> Result<bool, StoreError> {
        let revoked = self.store.revoke_key(id, of).await?;
        self.look_now().await;
        Ok(revoked)
    }

    /// Changes a user, and ends what they began when that locks them out.
    pub async fn change_user(
        &self,
        id: UserId,
        change: UserChange,
    ) -> Result<UserChanged, StoreError> {
        let changed = self.store.change_user(id, change).await?;
        self.look_now().await;
        Ok(changed)
    }

    /// The cookie that takes the login's away.
    pub fn no_cookie(&self, of: Client) -> Cookie<'static> {
        self.cookie(String::new(), Duration::ZERO, of)
    }

    /// Browsers take a cookie with `__Host-` by HTTPS only, and give it to no other host and never in the clear.
    fn cookie_name(&self, of: Client) -> Cow<'_, str> {
        if of.is_https {
            format!("__Host-{}", self.cookie_name).into()
        } else {
            (&*self.cookie_name).into()
        }
    }

    fn cookie(&self, value: String, lifetime: Duration, of: Client) -> Cookie<'static> {
        Cookie::build(self.cookie_name(of).into_owned(), value)
            .http_only(true)
            .secure(of.is_https)
            .same_site(SameSite::Strict)
            .path("/")
            .max_age(CookieAge::seconds(
                i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
            ))
            .finish()
    }

    async fn user(&self, request: &HttpRequest) -> Result<Option<CurrentUser>, StoreError> {
        let Some(proof) = self.proof(request) else {
            return Ok(None);
        };
        match self.known.current(proof, self.when()) {
            Some(known) => Ok(Some(known)),
            None => self.ask(proof).await,
        }
    }

    /// The store's answer, which is remembered when it is yes.
    async fn ask(&self, proof: Proof) -> Result<Option<CurrentUser>, StoreError> {
        if self.known.has_untold(proof) {
            // Or the store would take a login for one that nobody uses.
            self.tell_used().await;
        }
        // Before the question: the answer may be from any moment after it.
        let (as_of, when) = (self.known.epoch(), self.when());
        let vouched = match proof {
            Proof::Key(hash) => self.store.user_by_key(hash, when).await?,
            Proof::Login(hash) => self.store.user_by_login(hash, when).await?,
        };
        if vouched.is_none() {
            self.known.forget(proof);
        }
        Ok(vouched.map(|vouched| self.known.remember(proof, vouched, as_of, when)))
    }
}
