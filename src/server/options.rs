//! What of the configuration is whose.

use crate::{
    auth::{Auth, Known},
    chat::ChatOptions,
    client::TrustedProxies,
    clock::Clock,
    config::Config,
    demo::Demo,
    emitter::EmitterOptions,
    limits::{Ledger, Logins, Requests},
    recorder::RecorderOptions,
    registry::RegistryOptions,
    routes::RouteOptions,
    store::{Store, StoreOptions},
    upstream::{Login, Secret, UpstreamOptions},
};
use anyhow::anyhow;
use std::{net::SocketAddr, sync::Arc};

pub(super) fn store(config: &Config) -> StoreOptions {
    StoreOptions {
        connections: config.store.connections,
        acquire_timeout: config.store.acquire,
    }
}

pub(super) fn recorder(config: &Config) -> RecorderOptions {
    RecorderOptions {
        patience: config.store.patience,
        spool_bytes: config.recorder.spool_bytes,
    }
}

pub(super) fn registry(config: &Config) -> RegistryOptions {
    RegistryOptions {
        emitters: config.limits.emitters,
        emitters_per_user: config.limits.emitters_per_user,
        generations: config.limits.generations,
        generations_per_user: config.limits.generations_per_user,
        retain: config.log.retain,
        retain_bytes: config.log.retain_bytes,
        log_bytes: config.log.bytes,
    }
}

pub(super) fn upstream(config: &Config, demo: Option<&Demo>) -> UpstreamOptions {
    let upstream = &config.upstream;
    let url = demo.map_or_else(
        || upstream.url.trim_end_matches('/').to_owned(),
        Demo::base_url,
    );
    let (base_url, login) = Login::taken_from(&url);
    UpstreamOptions {
        base_url,
        // A key is for the server it was given for.
        api_key: Some(upstream.api_key.clone())
            .filter(|key| !key.is_empty() && demo.is_none())
            .map(Secret),
        login,
        connect: upstream.connect,
        first_byte: upstream.first_byte,
        silence: upstream.silence,
        total: upstream.total,
        event_bytes: config.limits.event_bytes,
        continuation: upstream.continuation,
    }
}

pub(super) fn auth(
    config: &Config,
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    clock: Clock,
    bound_to: SocketAddr,
) -> Auth {
    Auth {
        store,
        known: Known::default(),
        requests: Requests::new(config.limits.requests_per_minute, &clock),
        ledger,
        logins: Logins::new(config.limits.login_failures_per_minute, &clock),
        clock,
        cookie_name: format!("continuo_{}", bound_to.port()),
        login_lifetime: config.auth.login,
        login_idle: config.auth.idle,
        allowed_hosts: config.server.allowed_hosts.clone(),
        bound_to,
    }
}

pub(super) fn chat(config: &Config) -> ChatOptions {
    ChatOptions {
        model: Some(config.upstream.model.clone()).filter(|model| !model.is_empty()),
        aliases: config.upstream.aliases.clone(),
        context_bytes: config.limits.context_bytes,
        answer_bytes: config.limits.answer_bytes,
        store_patience: config.store.patience,
        feed_retain: config.log.retain,
        titles: config.titles.enabled.then_some(config.titles.patience),
    }
}

pub(super) fn routes(config: &Config) -> RouteOptions {
    RouteOptions {
        emitter: EmitterOptions {
            heartbeat: config.emitter.heartbeat,
            lifetime: config.emitter.lifetime,
            retry: config.emitter.retry,
        },
        body_bytes: config.limits.body_bytes,
        body: config.limits.body,
        message_bytes: config.limits.message_bytes,
        import_messages: config.limits.import_messages,
        poll: config.emitter.poll,
        passes_store: config.upstream.pass_store,
    }
}

pub(super) fn trusted_proxies(config: &Config) -> anyhow::Result<TrustedProxies> {
    let proxies = TrustedProxies::parse(&config.server.trusted_proxies);
    proxies.map_err(|wrong| anyhow!("server.trusted_proxies: {wrong:?} is no address"))
}
