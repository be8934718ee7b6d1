//! Who is asking: API keys, login cookies and one-time links, as extractors; and the wall against cross-site requests.
//!
//! A handler that takes [`CurrentUser`] is authenticated and shows it in its signature; one that takes [`Operator`] is for operators.
//! Secrets are 256 random bits, shown once, and stored as SHA-256. Whom the store vouched for is [`Known`], until a look at its
//! authorisation epoch says that something was taken away.

mod known;
mod watch;

pub use known::Known;

use crate::{
    client::Client,
    clock::Clock,
    limits::{Ledger, Logins, Requests, Room, Tokens},
    model::{Credential, Key, KeyId, Limits, LoginId, User, UserId, now},
    problem::ApiError,
    standing::Standing,
    store::{NewKey, NewLogin, SecretHash, Store, StoreError, UserChange, UserChanged, When},
};
use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest,
    body::MessageBody,
    cookie::{Cookie, SameSite, time::Duration as CookieAge},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        header::{self, HeaderMap, HeaderName, HeaderValue},
        uri::Authority,
    },
    middleware::Next,
    web::Data,
};
use known::Proof;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use std::{
    borrow::Borrow,
    borrow::Cow,
    fmt::Write as _,
    future::{Ready, ready},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use time::OffsetDateTime;

/// How long a one-time login link is good for.
pub const LINK_LIFETIME: Duration = Duration::from_mins(15);

/// What the head of a request may have.
const HEADERS: usize = 96;
const HEAD_BYTES: usize = 128 * 1024;

/// So many characters of a key are shown in lists.
const PREFIX: usize = 12;

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

/// A new secret: 64 hexadecimal digits after a prefix that says what it is for.
pub fn new_secret(prefix: &str) -> String {
    let mut bits = [0_u8; 32];
    rand::rng().fill_bytes(&mut bits);
    bits.iter().fold(prefix.to_owned(), |mut secret, byte| {
        let _ = write!(secret, "{byte:02x}");
        secret
    })
}

pub fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
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

    fn proof(&self, request: &HttpRequest) -> Option<Proof> {
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            // A key that is wrong is not made up for by a cookie that is right.
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            let bearer = scheme.eq_ignore_ascii_case("bearer");
            return bearer.then(|| Proof::Key(hash_of(key.trim())));
        }
        let cookie = request.cookie(&self.cookie_name(Client::of(request)))?;
        Some(Proof::Login(hash_of(cookie.value())))
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

    /// A `Host` that this server answers to. Bound to loopback, only loopback's own names: a foreign name that resolves to this
    /// machine (DNS rebinding) would make a foreign page same-origin.
    fn knows_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let allowed = || {
            self.allowed_hosts.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name)
            })
        };
        let bound = || name.trim_matches(['[', ']']).parse() == Ok(self.bound_to.ip());
        let loopback = || {
            ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        match (
            self.bound_to.ip().is_loopback(),
            self.allowed_hosts.is_empty(),
        ) {
            (true, _) => loopback() || bound() || allowed(),
            (false, true) => true,
            (false, false) => allowed(),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The authenticated user of a request. Extracting it fails with 401, or 503 while the store cannot tell.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    pub user: Arc<User>,
    /// What they proved it by: whatever outlives the request takes it along.
    pub standing: Arc<Standing>,
    /// Their key, or the one that logged in, ends by itself or has limits of its own: they make no others, which would not.
    pub is_restricted: bool,
}

/// What [`identify`] found out; taken by the extractor.
struct Identity(Result<Option<CurrentUser>, ApiError>);

/// Looks up who is asking and counts the request, before any extractor runs: the extractors of a handler run side by side, and a stranger
/// is to learn that they are a stranger, not what is wrong with their body or path. What is left of their limit is told with every answer.
pub async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut told = Told::default();
    if ["/api/", "/v1/"]
        .iter()
        .any(|prefix| request.path().starts_with(prefix))
    {
        let auth = Data::<Auth>::clone(request.app_data().expect("the application has its Auth"));
        let mut identity = auth.user(request.request()).await.map_err(ApiError::from);
        if let Ok(Some(current)) = &identity {
            told.of = Some((auth.clone(), current.standing.clone()));
            match auth.requests.admit(&current.standing) {
                Ok(room) => told.requests = room,
                Err(refused) => {
                    told.requests = Some(refused.room);
                    identity = Err(refused.into());
                }
            }
        }
        request.extensions_mut().insert(Identity(identity));
    }
    let mut response = next.call(request).await?;
    told.tell(response.headers_mut());
    Ok(response)
}

/// What an answer tells of the limits of whoever asked.
#[derive(Default)]
struct Told {
    of: Option<(Data<Auth>, Arc<Standing>)>,
    requests: Option<Room>,
}

impl Told {
    fn tell(self, headers: &mut HeaderMap) {
        let mut tell = |of: &str, limit: String, remaining: String, reset: Duration| {
            let all = [
                ("limit", limit),
                ("remaining", remaining),
                ("reset", brief(reset)),
            ];
            for (what, value) in all {
                let name = HeaderName::try_from(format!("x-ratelimit-{what}-{of}"));
                if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            }
        };
        if let Some(Room {
            limit,
            remaining,
            reset,
        }) = self.requests
        {
            tell("requests", limit.to_string(), remaining.to_string(), reset);
        }
        // After the answer: only then it is known whose tokens were looked up.
        let left = self
            .of
            .and_then(|(auth, standing)| auth.ledger.left(&standing));
        if let Some(Tokens {
            limit,
            remaining,
            reset,
        }) = left
        {
            tell("tokens", limit.to_string(), remaining.to_string(), reset);
        }
    }
}

/// As OpenAI's headers tell a duration: `1h2m3s`, `6s`, `20ms`.
fn brief(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let mut told = String::new();
    for (count, unit) in parts {
        if count > 0 {
            let _ = write!(told, "{count}{unit}");
        }
    }
    if told.is_empty() {
        return format!("{millis}ms");
    }
    told
}

impl FromRequest for CurrentUser {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Identity(found) = request
            .extensions_mut()
            .remove()
            .unwrap_or(Identity(Ok(None)));
        let current = found.and_then(|found| found.ok_or_else(ApiError::unauthorized));
        if let Ok(current) = &current {
            let id = tracing::field::display(current.user.id);
            tracing::Span::current().record("user.id", id);
        }
        ready(current)
    }
}

/// An operator; others get 403.
#[derive(Debug, Clone)]
pub struct Operator(pub CurrentUser);

impl Borrow<CurrentUser> for Operator {
    fn borrow(&self) -> &CurrentUser {
        &self.0
    }
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let current = CurrentUser::from_request(request, payload).into_inner();
        ready(current.and_then(|current| {
            if current.user.operator {
                Ok(Self(current))
            } else {
                Err(ApiError::new(
                    403,
                    "operators-only",
                    "Operators only",
                    "this needs an account with the operator role",
                ))
            }
        }))
    }
}

/// Somebody whose way in may make others: not by a key that ends by itself or has limits of its own. Others get 403.
#[derive(Debug, Clone)]
pub struct Unrestricted<T>(pub T);

impl<T: Borrow<CurrentUser>> FromRequest for Unrestricted<T>
where
    T: FromRequest<Error = ApiError, Future = Ready<Result<T, ApiError>>>,
{
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let who = T::from_request(request, payload).into_inner();
        ready(who.and_then(|who| {
            if who.borrow().is_restricted {
                return Err(ApiError::new(
                    403,
                    "restricted-key",
                    "This key makes no others",
                    "a key that expires or is limited would make one that is not; use a login, or a key without an end and limits",
                ));
            }
            Ok(Self(who))
        }))
    }
}

/// Refuses foreign `Host` names on every route, and requests that change something when a page of another origin sent them.
pub async fn walls(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let auth = request
        .app_data::<Data<Auth>>()
        .expect("the application has its Auth");
    // Not `connection_info()`: that believes `X-Forwarded-Host`, which any page may send.
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = request
        .uri()
        .authority()
        .map(Authority::as_str)
        .or(host)
        .unwrap_or_default()
        .to_owned();
    let refusal = if is_too_large(request.headers()) {
        ApiError::new(
            431,
            "head-too-large",
            "The head of the request is too large",
            format!("it may have {HEADERS} headers, and {HEAD_BYTES} bytes in all"),
        )
    } else if !auth.knows_host(&host) {
        ApiError::new(
            421,
            "unknown-host",
            "This server does not answer to that name",
            "the Host header names another server; add the name to `server.allowed_hosts` if it is this one",
        )
    } else if !request.method().is_safe()
        && is_cross_site(
            request.headers(),
            &host,
            Client::of(request.request()).is_https,
        )
    {
        ApiError::new(
            403,
            "cross-site",
            "Cross-site requests are refused",
            "a page of another origin cannot act for the user; programs send no Origin header",
        )
    } else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    Ok(request.error_response(refusal))
}

/// More than actix takes over HTTP/1.1; over HTTP/2 it would take 16 MiB.
fn is_too_large(headers: &HeaderMap) -> bool {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    headers.len() > HEADERS || bytes.sum::<usize>() > HEAD_BYTES
}

/// By `Sec-Fetch-Site` where the browser sends it, else by `Origin` against `Host`. A sibling site is foreign too.
fn is_cross_site(headers: &HeaderMap, host: &str, is_https: bool) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    // Without TLS here there may be some in front, of which nothing is known.
    origin.is_none_or(|(scheme, authority)| {
        with_port(authority, scheme) != with_port(host, scheme) || is_https && scheme != "https"
    })
}

fn with_port(host: &str, scheme: &str) -> String {
    let host = host.to_ascii_lowercase();
    if without_port(&host) != host {
        return host;
    }
    let port = if scheme == "https" { 443 } else { 80 };
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cross_site(headers: &[(&'static str, &'static str)], host: &str) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        is_cross_site(&map, host, false)
    }

    #[test]
    fn only_pages_of_this_origin_and_programs_may_change_something() {
        let host = "127.0.0.1:8080";
        assert!(!cross_site(&[], host), "a program");
        assert!(!cross_site(&[("sec-fetch-site", "same-origin")], host));
        assert!(cross_site(&[("sec-fetch-site", "cross-site")], host));
        assert!(cross_site(&[("sec-fetch-site", "same-site")], host));
        assert!(!cross_site(&[("origin", "http://127.0.0.1:8080")], host));
        assert!(
            cross_site(&[("origin", "http://127.0.0.1:8081")], host),
            "another port is another origin"
        );
        assert!(cross_site(&[("origin", "null")], host));
        assert!(cross_site(&[("origin", "http://evil.example")], host));
        assert!(!cross_site(
            &[("origin", "http://chat.example")],
            "chat.example:80"
        ));
        assert!(!cross_site(
            &[("origin", "https://Chat.example")],
            "chat.example"
        ));
        assert!(cross_site(
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://127.0.0.1:8080")
            ],
            host
        ));
    }

    #[test]
    fn durations_are_told_as_openai_tells_them() {
        for (millis, told) in [
            (0, "0ms"),
            (20, "20ms"),
            (6_000, "6s"),
            (60_000, "1m"),
            (3_723_004, "1h2m3s"),
        ] {
            assert_eq!(brief(Duration::from_millis(millis)), told);
        }
    }

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, two) = (new_secret("k-"), new_secret("k-"));
        assert_eq!(one.len(), 2 + 64);
        assert_ne!(one, two);
    }
}
