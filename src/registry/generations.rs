//! Live generations, those ended a moment ago, and the slots that limit how many run.

use super::{Full, Registry, count_down, limit};
use crate::{
    event::{Done, Event},
    generation::Generation,
    model::{ConversationId, GenerationId, KeyId, Outcome, UserId},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Generations {
    running: HashMap<GenerationId, Arc<Generation>>,
    per_user: HashMap<UserId, usize>,
    per_key: HashMap<KeyId, usize>,
    /// Ended and still readable from memory.
    retained: HashMap<GenerationId, Arc<Generation>>,
    /// The same in the order of their ends, with what they cost in bytes.
    ends: VecDeque<(Instant, GenerationId, usize)>,
    retained_bytes: usize,
    draining: bool,
}

/// The place of a running generation; dropping it is the only way out. An ended log then stays readable for a while.
#[derive(Debug)]
pub struct Slot {
    registry: Arc<Registry>,
    generation: Arc<Generation>,
}

impl std::ops::Deref for Slot {
    type Target = Arc<Generation>;
    fn deref(&self) -> &Arc<Generation> {
        &self.generation
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Still open when the turn was refused or its task died: whoever waits for the end must not wait for ever.
        let done = Event::Done(Box::new(Done {
            outcome: self.generation.claim(Outcome::Failed),
            finish_reason: None,
            usage: None,
            timings: None,
            stored: false,
            problem: None,
        }));
        for log in [Some(&self.generation.log), self.generation.payload_log()] {
            let _ = log.map(|log| log.append(&done));
        }
        self.registry.ledger.count(&self.generation);
        let bytes = self.generation.log_bytes();
        let mut generations = self.registry.generations();
        generations.running.remove(&self.generation.id);
        count_down(&mut generations.per_user, &self.generation.owner);
        if let Some(key) = self.generation.standing.key {
            count_down(&mut generations.per_key, &key);
        }
        // One that never began (its turn was refused) leaves nothing behind, and one whose conversation was deleted meanwhile neither.
        if self.generation.is_there() && !self.generation.is_forgotten() {
            let id = self.generation.id;
            generations.retained.insert(id, self.generation.clone());
            generations.ends.push_back((Instant::now(), id, bytes));
            generations.retained_bytes += bytes;
        }
        drop(generations);
        self.registry.release_ended();
    }
}

impl Registry {
    /// Takes a slot for a generation about to start; it is found by its id from here on.
    pub fn reserve(self: &Arc<Self>, generation: Generation) -> Result<Slot, Full> {
        let generation = Arc::new(generation);
        let mut generations = self.generations();
        if generations.draining {
            return Err(Full::Draining);
        }
        let (allowance, key) = (generation.standing.allowance(), generation.standing.key);
        let of_key = key.and_then(|key| generations.per_key.get(&key));
        let of_key = of_key.copied().unwrap_or(0);
        if of_key >= limit(allowance.key.generations, usize::MAX) {
            return Err(Full::Key(of_key));
        }
        let user = generations.per_user.get(&generation.owner);
        let user = user.copied().unwrap_or(0);
        if user
            >= limit(
                allowance.user.generations,
                self.options.generations_per_user,
            )
        {
            return Err(Full::User(user));
        }
        if generations.running.len() >= self.options.generations {
            return Err(Full::Node(generations.running.len()));
        }
        *generations.per_user.entry(generation.owner).or_default() += 1;
        if let Some(key) = key {
            *generations.per_key.entry(key).or_default() += 1;
        }
        generations
            .running
            .insert(generation.id, generation.clone());
        drop(generations);
        Ok(Slot {
            registry: self.clone(),
            generation,
        })
    }

    /// A generation that runs or ended a moment ago, and is this user's.
    pub fn generation(&self, user: UserId, id: GenerationId) -> Option<Arc<Generation>> {
        let generations = self.generations();
        let found = generations
            .running
            .get(&id)
            .or_else(|| generations.retained.get(&id));
        let is_theirs =
            |generation: &&Arc<Generation>| generation.owner == user && !generation.is_forgotten();
        found.filter(is_theirs).cloned()
    }

    /// Lets go of what is retained of a conversation that is gone, and of what has just ended in it.
    pub fn forget_conversation(&self, id: ConversationId) {
        let is_of = |generation: &Generation| generation.conversation_id() == Some(id);
        let mut generations = self.generations();
        let running = generations.running.values();
        running
            .filter(|generation| is_of(generation))
            .for_each(|generation| generation.forget());
        // Their places in the order of ends stay, and find nothing when their time comes.
        generations
            .retained
            .retain(|_, generation| !is_of(generation));
    }

    /// True while its task lives.
    pub fn is_running(&self, id: GenerationId) -> bool {
        self.generations().running.contains_key(&id)
    }

    /// All that run, anybody's, oldest first.
    pub fn running(&self) -> Vec<Arc<Generation>> {
        let mut running: Vec<_> = self.generations().running.values().cloned().collect();
        running.sort_by_key(|generation| generation.id);
        running
    }

    /// Those of this user that write an answer now, oldest first.
    pub fn running_of(&self, user: UserId) -> Vec<Arc<Generation>> {
        let mut running = self.running();
        running.retain(|generation| generation.owner == user && !generation.log.is_closed());
        running
    }

    /// Lets no more generations start.
    pub fn refuse_generations(&self) {
        self.generations().draining = true;
    }

    pub fn is_draining(&self) -> bool {
        self.generations().draining
    }

    /// The size that a new log may have, in bytes.
    pub fn log_bytes(&self) -> usize {
        self.options.log_bytes
    }

    /// Lets go of ended logs that are too old or too many; the store has them. Called at every end and by a timer.
    pub fn release_ended(&self) {
        let mut released = Vec::new();
        let mut generations = self.generations();
        while let Some(&(ended, id, bytes)) = generations.ends.front() {
            let is_small = generations.retained_bytes <= self.options.retain_bytes;
            if is_small && ended.elapsed() < self.options.retain {
                break;
            }
            generations.ends.pop_front();
            generations.retained_bytes -= bytes;
            released.extend(generations.retained.remove(&id));
        }
        drop(generations);
        // Freed here, outside the lock: a log may be large.
        drop(released);
    }

    /// How many ended generations are still in memory.
    pub fn retained_count(&self) -> usize {
        self.generations().retained.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::RegistryOptions, *};
    use crate::{log::EventLog, model::MessageId, standing::Standing};
    use std::time::Duration;

    fn registry(retain_bytes: usize) -> Arc<Registry> {
        Registry::new(RegistryOptions {
            emitters: 5,
            emitters_per_user: 3,
            generations: 3,
            generations_per_user: 2,
            retain: Duration::from_mins(1),
            retain_bytes,
            log_bytes: 1 << 20,
        })
    }

    fn generation(owner: UserId) -> Generation {
        Generation::new(
            GenerationId::new(),
            Some(MessageId::new()),
            Standing::of(owner),
            String::new(),
            EventLog::new(1 << 20),
        )
    }

    fn end(slot: &Slot) {
        slot.belongs_to(ConversationId::new());
        slot.log
            .append(&Event::Done(Box::new(Done {
                outcome: Outcome::Completed,
                finish_reason: None,
                usage: None,
                timings: None,
                stored: true,
                problem: None,
            })))
            .expect("the first end");
    }

    #[test]
    fn slots_are_limited_for_the_user_and_the_node() {
        let (registry, user) = (registry(1 << 20), UserId::new());
        let first = registry.reserve(generation(user)).expect("room");
        let _second = registry.reserve(generation(user)).expect("room");
        assert_eq!(
            registry.reserve(generation(user)).err(),
            Some(Full::User(2))
        );
        let _third = registry.reserve(generation(UserId::new())).expect("room");
        assert_eq!(
            registry.reserve(generation(UserId::new())).err(),
            Some(Full::Node(3))
        );
        drop(first);
        registry.reserve(generation(user)).expect("room again");
        // Only a turn that was stored belongs to a conversation.
        assert_eq!(
            registry.retained_count(),
            0,
            "one that never ended is not kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_log_stays_readable_for_its_owner_for_a_minute() {
        let (registry, user) = (registry(1 << 20), UserId::new());
        let slot = registry.reserve(generation(user)).expect("room");
        let id = slot.id;
        end(&slot);
        drop(slot);
        assert!(registry.generation(user, id).is_some());
        assert!(
            registry.generation(UserId::new(), id).is_none(),
            "another user's is not there"
        );
        assert!(registry.running().is_empty());
        tokio::time::advance(Duration::from_secs(61)).await;
        registry.release_ended();
        assert!(registry.generation(user, id).is_none());
    }

    #[test]
    fn what_has_just_ended_in_a_deleted_conversation_is_not_found_any_more() {
        let (registry, user) = (registry(1 << 20), UserId::new());
        let slots = [(); 2].map(|()| registry.reserve(generation(user)).expect("room"));
        slots.iter().for_each(end);
        let [deleted, other] = &slots;
        let conversation = deleted.conversation_id().expect("it has begun");
        registry.forget_conversation(conversation);
        assert!(registry.generation(user, deleted.id).is_none());
        assert!(registry.generation(user, other.id).is_some());
        drop(slots);
        assert_eq!(registry.retained_count(), 1, "the other one");
    }

    #[test]
    fn ended_logs_leave_oldest_first_when_they_take_too_much_memory() {
        let (registry, user) = (registry(450), UserId::new());
        let ids: Vec<_> = (0..3)
            .map(|_| {
                let slot = registry.reserve(generation(user)).expect("room");
                let id = slot.id;
                end(&slot);
                drop(slot);
                id
            })
            .collect();
        assert!(registry.generation(user, ids[0]).is_none());
        assert!(registry.generation(user, ids[2]).is_some());
    }
}
