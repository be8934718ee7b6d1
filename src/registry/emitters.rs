//! Live emitters: who is attached to what, since when, and how those before them left.

use super::{Full, Registry, count_down, limit};
use crate::{
    cursor::Log,
    model::{ConversationId, EmitterId, GenerationId, KeyId, UserId, now},
    standing::Standing,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// What an emitter reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Generation(GenerationId),
    /// What happens to the conversations of the emitter's user.
    Feed,
}

impl Target {
    /// The word for its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Generation(_) => "generation",
            Self::Feed => "feed",
        }
    }
}

/// Why an emitter left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Reason {
    /// The connection ended: FIN, RST, a dead or stuck peer. What it is unless another was set.
    Disconnected = 1,
    /// It sent the terminal event.
    Finished,
    /// It grew old; the client comes back.
    Lifetime,
    /// The same session came again for the same target.
    Replaced,
    /// An operator, or the end of the login, ended it.
    Killed,
    Shutdown,
    /// The stream itself failed.
    Error,
}

impl Reason {
    pub const ALL: [Self; 7] = [
        Self::Disconnected,
        Self::Finished,
        Self::Lifetime,
        Self::Replaced,
        Self::Killed,
        Self::Shutdown,
        Self::Error,
    ];
}

/// Who wants to attach to what.
#[derive(Debug, Clone)]
pub struct NewEmitter {
    /// What it was opened with, and ends with.
    pub standing: Arc<Standing>,
    /// The name that the client gave its tab, device or program; unnamed ones never replace each other.
    pub session: Option<Box<str>>,
    pub target: Target,
    pub conversation: Option<ConversationId>,
    pub peer: Option<SocketAddr>,
    pub user_agent: Option<Box<str>>,
    /// What it reads, and the position it starts from.
    pub log: Arc<dyn Log>,
    pub after: u64,
}

/// One attached client, as the registry and the operator see it.
#[derive(Debug)]
pub struct Emitter {
    pub id: EmitterId,
    pub opened_at: OffsetDateTime,
    pub client: NewEmitter,
    seq: AtomicU64,
    bytes: AtomicU64,
    /// A [`Reason`], 0 while it lives.
    reason: AtomicU8,
    /// Ends with what it was opened with.
    asked_to_end: CancellationToken,
}

impl Emitter {
    /// Tells that it sent an event of this many bytes; one without a position leaves it where it is.
    pub fn sent(&self, seq: Option<u64>, bytes: usize) {
        if let Some(seq) = seq {
            self.seq.store(seq, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// How many events it is behind now, also when it stands still and tells nothing.
    pub fn lag(&self) -> u64 {
        let tail = *self.client.log.tail().borrow();
        tail.saturating_sub(self.seq())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Says why it leaves; the first reason stays.
    pub fn leave(&self, reason: Reason) {
        let _ = self
            .reason
            .compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why it leaves, once that is known.
    pub fn reason(&self) -> Reason {
        let reason = self.reason.load(Ordering::Relaxed);
        Reason::ALL
            .into_iter()
            .find(|known| *known as u8 == reason)
            .unwrap_or(Reason::Disconnected)
    }

    fn end(&self, reason: Reason) {
        self.leave(reason);
        self.asked_to_end.cancel();
    }

    fn name(&self) -> Option<Name> {
        let session = self.client.session.clone()?;
        Some((self.client.standing.user, session, self.client.target))
    }
}

type Name = (UserId, Box<str>, Target);

#[derive(Debug, Default)]
pub(super) struct Emitters {
    pub(super) live: BTreeMap<EmitterId, Arc<Emitter>>,
    named: HashMap<Name, EmitterId>,
    per_user: HashMap<UserId, usize>,
    per_key: HashMap<KeyId, usize>,
    pub(super) opened: u64,
    pub(super) closed: BTreeMap<Reason, u64>,
    draining: bool,
    /// Told whenever the last one leaves.
    emptied: Arc<Notify>,
}

/// The place of one emitter in the registry; dropping it is the only way out.
#[derive(Debug)]
pub struct Attached {
    registry: Arc<Registry>,
    emitter: Arc<Emitter>,
}

impl Attached {
    /// Resolves when somebody asked for its end, or what it was opened with does not hold any more; also when that was before the call.
    pub fn asked_to_end(&self) -> impl Future<Output = ()> + use<> {
        let emitter = self.emitter.clone();
        async move {
            emitter.asked_to_end.cancelled().await;
            // Whoever asked said why.
            emitter.leave(Reason::Killed);
        }
    }
}

impl std::ops::Deref for Attached {
    type Target = Emitter;
    fn deref(&self) -> &Emitter {
        &self.emitter
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut emitters = self.registry.emitters();
        let emitter = &self.emitter;
        emitters.live.remove(&emitter.id);
        if let Some(name) = emitter.name()
            && emitters.named.get(&name) == Some(&emitter.id)
        {
            emitters.named.remove(&name);
        }
        let standing = &emitter.client.standing;
        count_down(&mut emitters.per_user, &standing.user);
        if let Some(key) = standing.key {
            count_down(&mut emitters.per_key, &key);
        }
        *emitters.closed.entry(emitter.reason()).or_default() += 1;
        if emitters.live.is_empty() {
            emitters.emptied.notify_waiters();
        }
    }
}

impl Registry {
    /// Lets a client in, within the limits. One that names the session of an emitter on the same target replaces it.
    pub fn attach(self: &Arc<Self>, client: NewEmitter) -> Result<Attached, Full> {
        let emitter = Arc::new(Emitter {
            id: EmitterId::new(),
            opened_at: now(),
            seq: AtomicU64::new(client.after),
            bytes: AtomicU64::new(0),
            reason: AtomicU8::new(0),
            asked_to_end: client.standing.while_it_holds(),
            client,
        });
        let mut emitters = self.emitters();
        if emitters.draining {
            return Err(Full::Draining);
        }
        let replaced = emitter
            .name()
            .and_then(|name| emitters.named.get(&name))
            .and_then(|old| emitters.live.get(old))
            .cloned();
        let user = emitters.per_user.get(&emitter.client.standing.user);
        let (user, node) = (user.copied().unwrap_or(0), emitters.live.len());
        // A replaced emitter counts until its connection ends, up to half a minute when its peer is stuck. Its successor is let in
        // over the limit, so that a session at the limit can reconnect; up to twice the limit, so that this is no way around it.
        let times = if replaced.is_some() { 2 } else { 1 };
        let (allowance, key) = (
            emitter.client.standing.allowance(),
            emitter.client.standing.key,
        );
        let of_key = key.and_then(|key| emitters.per_key.get(&key));
        let of_key = of_key.copied().unwrap_or(0);
        if of_key >= limit(allowance.key.emitters, usize::MAX).saturating_mul(times) {
            return Err(Full::Key(of_key));
        }
        let of_user = limit(allowance.user.emitters, self.options.emitters_per_user);
        if user >= of_user.saturating_mul(times) {
            return Err(Full::User(user));
        }
        if node >= self.options.emitters.saturating_mul(times) {
            return Err(Full::Node(node));
        }
        if let Some(old) = replaced {
            old.end(Reason::Replaced);
        }
        if let Some(name) = emitter.name() {
            emitters.named.insert(name, emitter.id);
        }
        *emitters
            .per_user
            .entry(emitter.client.standing.user)
            .or_default() += 1;
        if let Some(key) = key {
            *emitters.per_key.entry(key).or_default() += 1;
        }
        emitters.live.insert(emitter.id, emitter.clone());
        emitters.opened += 1;
        drop(emitters);
        Ok(Attached {
            registry: self.clone(),
            emitter,
        })
    }

    /// Ends one emitter; false when there is none of that id.
    pub fn kill_emitter(&self, id: EmitterId) -> bool {
        let emitter = self.emitters().live.get(&id).cloned();
        emitter
            .inspect(|emitter| emitter.end(Reason::Killed))
            .is_some()
    }

    /// Ends all emitters and lets no more in.
    pub fn shut_out_emitters(&self) {
        let mut emitters = self.emitters();
        emitters.draining = true;
        for emitter in emitters.live.values() {
            emitter.end(Reason::Shutdown);
        }
    }

    /// Resolves when no emitter is attached.
    pub async fn no_emitters(&self) {
        let emptied = self.emitters().emptied.clone();
        loop {
            // Registered before the look: the last one may leave in between.
            let emptied = emptied.notified();
            if self.emitter_count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// How many are attached now.
    pub fn emitter_count(&self) -> usize {
        self.emitters().live.len()
    }

    /// How many read each target now; absent when nobody does.
    pub fn readers(&self) -> HashMap<Target, usize> {
        let mut readers = HashMap::new();
        for emitter in self.emitters().live.values() {
            *readers.entry(emitter.client.target).or_default() += 1;
        }
        readers
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{EmitterFilter, RegistryOptions},
        *,
    };
    use crate::log::EventLog;
    use std::time::Duration;

    fn registry() -> Arc<Registry> {
        Registry::new(RegistryOptions {
            emitters: 5,
            emitters_per_user: 3,
            generations: 5,
            generations_per_user: 3,
            retain: Duration::from_mins(1),
            retain_bytes: 1 << 20,
            log_bytes: 1 << 20,
        })
    }

    fn client(user: UserId, session: Option<&str>, target: Target) -> NewEmitter {
        NewEmitter {
            standing: Standing::of(user),
            session: session.map(Into::into),
            target,
            conversation: None,
            peer: None,
            user_agent: None,
            log: EventLog::new(1 << 10),
            after: 0,
        }
    }

    fn target() -> Target {
        Target::Generation(GenerationId::new())
    }

    fn counts(registry: &Registry) -> (u64, usize, Vec<(Reason, u64)>) {
        let page = registry.list_emitters(&EmitterFilter {
            limit: 100,
            ..EmitterFilter::default()
        });
        assert_eq!(
            page.opened,
            page.closed.values().sum::<u64>() + page.live as u64
        );
        (
            page.opened,
            page.live,
            page.closed.into_iter().filter(|(_, n)| *n > 0).collect(),
        )
    }

    #[tokio::test]
    async fn a_named_session_replaces_only_itself_on_the_same_target() {
        let (registry, user, target) = (registry(), UserId::new(), target());
        let old = registry
            .attach(client(user, Some("tab"), target))
            .expect("room");
        let other = registry
            .attach(client(UserId::new(), Some("tab"), target))
            .expect("room");
        let new = registry
            .attach(client(user, Some("tab"), target))
            .expect("room");
        old.asked_to_end().await;
        assert_eq!(registry.emitter_count(), 3);
        drop(old);
        // The old one's end did not take the new one's name: a third still replaces it.
        let third = registry
            .attach(client(user, Some("tab"), target))
            .expect("room");
        new.asked_to_end().await;
        drop((new, other));
        drop(third);
        assert_eq!(
            counts(&registry),
            (4, 0, vec![(Reason::Disconnected, 2), (Reason::Replaced, 2)])
        );
    }

    #[test]
    fn unnamed_readers_of_one_login_do_not_push_each_other_out() {
        let (registry, user, target) = (registry(), UserId::new(), target());
        let _first = registry.attach(client(user, None, target)).expect("room");
        let _second = registry.attach(client(user, None, target)).expect("room");
        assert_eq!(counts(&registry), (2, 2, vec![]));
    }

    #[test]
    fn a_session_that_comes_again_and_again_gets_past_the_limit_once_over() {
        let (registry, user, target) = (registry(), UserId::new(), target());
        let attach = || registry.attach(client(user, Some("tab"), target));
        // Peers that are stuck do not leave when they are replaced.
        let stuck: Vec<_> = (0..6).map(|_| attach().expect("room")).collect();
        assert_eq!(attach().err(), Some(Full::User(6)));
        drop(stuck);
        attach().expect("room again");
    }

    #[test]
    fn limits_hold_for_the_user_and_the_node_and_count_down_again() {
        let (registry, user, target) = (registry(), UserId::new(), target());
        let mine: Vec<_> = (0..3)
            .map(|_| registry.attach(client(user, None, target)).expect("room"))
            .collect();
        assert_eq!(
            registry.attach(client(user, None, target)).err(),
            Some(Full::User(3))
        );
        let _a = registry
            .attach(client(UserId::new(), None, target))
            .expect("room");
        let _b = registry
            .attach(client(UserId::new(), None, target))
            .expect("room");
        assert_eq!(
            registry.attach(client(UserId::new(), None, target)).err(),
            Some(Full::Node(5))
        );
        drop(mine);
        registry
            .attach(client(user, None, target))
            .expect("room again");
    }

    #[tokio::test]
    async fn what_was_opened_with_a_login_ends_with_it_and_nothing_else() {
        let (registry, user, target) = (registry(), UserId::new(), target());
        let client_of = |standing: &Arc<Standing>| NewEmitter {
            standing: standing.clone(),
            ..client(user, None, target)
        };
        let [ends, stays] = [(); 2].map(|()| Standing::of(user));
        let mine = registry.attach(client_of(&ends)).expect("room");
        let other = registry.attach(client_of(&stays)).expect("room");
        ends.end();
        mine.asked_to_end().await;
        // A request that was let in before comes too late.
        let late = registry.attach(client_of(&ends)).expect("room");
        late.asked_to_end().await;
        let asked = tokio::time::timeout(Duration::ZERO, other.asked_to_end());
        assert!(asked.await.is_err());
        drop((mine, late, other));
        assert_eq!(
            counts(&registry),
            (3, 0, vec![(Reason::Disconnected, 1), (Reason::Killed, 2)])
        );
    }
}
