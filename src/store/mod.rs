//! The store: accounts, conversations, messages and generations in Postgres or SQLite, chosen by URL.
//!
//! The only module that names `sqlx`. Its traits are the contract; `chat` and `auth` know nothing else. No connection is held while
//! an answer streams: every method is one statement or one short transaction. Every method may be cancelled by dropping its
//! future, with all or nothing of its effect; every look-up of something that belongs to a user takes that user, and what is
//! another's is not there.

use crate::{
    event::{EventSegment, Transcript},
    model::{
        Conversation, ConversationId, Ending, GenerationId, GenerationRecord, Message, MessageId,
        NodeId, Sampling, Spending, UserId,
    },
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use time::{Date, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

mod accounts;
mod append;
mod begin;
mod branch;
mod carry_on;
mod conversations;
mod deletion;
mod end;
mod import;
mod insert;
mod open;
mod path;
mod receipts;
mod recordings;
mod rows;
mod search;
mod secret_hash;
mod spending;
mod sql;
mod turns;

pub use accounts::{
    Accounts, Credentials, NewKey, NewLogin, UserChange, UserChanged, Vouched, When,
};
pub use open::{OpenError, StoreOptions, open};
pub use secret_hash::SecretHash;

/// Everything the program keeps.
#[async_trait]
pub trait Store:
    Accounts + Credentials + Conversations + SearchIndex + Spendings + Turns + Recordings + Send + Sync
{
    /// Waits for calls under way, then closes every connection; later calls fail as unavailable. SQLite writes its log back into
    /// the file here.
    async fn close(&self) {}
}

/// Why the store did not do it. "Not there" is no error: look-ups return `Option`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or is too busy, or this node's lease was taken away; trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an `Idempotency-Key` protects: kept with the effect in one transaction, so that the effect happens once.
#[derive(Debug, Clone)]
pub struct Once {
    pub key: String,
    /// A hash of what was asked (method, path, body).
    pub fingerprint: SecretHash,
}

/// The outcome of an effect that may carry an `Idempotency-Key`.
#[derive(Debug)]
pub enum Effect<T> {
    /// It happened now.
    Done(T),
    /// It happened before under the same key and fingerprint; this is what was answered then.
    Before(Receipt),
    /// The key was used for something else.
    KeyReused,
}

impl<T> Effect<T> {
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Effect<U> {
        match self {
            Self::Done(done) => Effect::Done(of(done)),
            Self::Before(before) => Effect::Before(before),
            Self::KeyReused => Effect::KeyReused,
        }
    }
}

/// What is answered when an effect is asked for again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub location: String,
    pub body: Value,
}

/// What is asked of a list of conversations.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Words to find in titles and texts, ignoring case in every script: each must occur somewhere, inside another word too. Of a
    /// query the first 16 words count, of a word the first 200 characters. `None`, and a query without words, list all.
    pub text: Option<String>,
    /// Where the last page ended.
    pub after: Option<ListCursor>,
    /// At most this many; at least 1.
    pub limit: u32,
}

/// A place in a list: pinned ones first (but in what a search finds), then by newest change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub pinned: bool,
    pub updated_at: OffsetDateTime,
    pub id: ConversationId,
}

impl From<&Conversation> for ListCursor {
    fn from(last: &Conversation) -> Self {
        Self {
            pinned: last.pinned,
            updated_at: last.updated_at,
            id: last.id,
        }
    }
}

/// A row of a list; `snippet` is the text around the first hit of a search, about 160 characters.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Listed {
    #[serde(flatten)]
    pub conversation: Conversation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

/// A conversation about to be created. Id and time are chosen by the caller, so that its answer is known before the effect.
#[derive(Debug, Clone)]
pub struct NewConversation {
    pub id: ConversationId,
    pub title: String,
    pub model: Option<String>,
    pub system: Option<String>,
    pub sampling: Sampling,
    /// To the millisecond, as [`now`](crate::model::now) gives it.
    pub created_at: OffsetDateTime,
}

impl NewConversation {
    /// As it reads once it is stored.
    pub fn created(&self) -> Conversation {
        Conversation {
            id: self.id,
            title: self.title.clone(),
            model: self.model.clone(),
            system: self.system.clone(),
            sampling: self.sampling.clone(),
            pinned: false,
            archived: false,
            version: 1,
            head_id: None,
            created_at: self.created_at,
            updated_at: self.created_at,
        }
    }
}

/// A whole conversation about to be stored. Times are to the millisecond.
#[derive(Debug, Clone)]
pub struct WholeConversation {
    pub new: NewConversation,
    pub updated_at: OffsetDateTime,
    pub head_id: Option<MessageId>,
    /// In order of creation, parents before their children. None is streaming, and no generation wrote them.
    pub messages: Vec<Message>,
}

impl WholeConversation {
    /// As it reads once it is stored.
    pub fn created(&self) -> Conversation {
        Conversation {
            updated_at: self.updated_at,
            head_id: self.head_id,
            ..self.new.created()
        }
    }
}

/// Fields to change; the inner `None` clears.
#[derive(Debug, Clone, Default)]
pub struct ConversationChange {
    pub title: Option<String>,
    pub pinned: Option<bool>,
    pub archived: Option<bool>,
    pub model: Option<Option<String>>,
    pub system: Option<Option<String>>,
    /// All of it.
    pub sampling: Option<Sampling>,
    /// The message that the next prompt continues. Alone it is no change that counts: neither `version` nor `updated_at` moves.
    pub head_id: Option<MessageId>,
}

#[derive(Debug)]
pub enum Changed {
    Done(Box<Conversation>),
    NotFound,
    /// `If-Match` named another version: this is the present one.
    VersionIs(i64),
    /// The head is to be a message that this conversation does not have.
    UnknownHead,
}

/// Which messages of one branch are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct BranchQuery {
    /// The branch through this message and on to its newest descendant, the newest child each time; `None`: the one from the root to
    /// the head.
    pub through: Option<MessageId>,
    /// Those above this message; where it is not on that branch, on its own. `None`: the last ones.
    pub before: Option<MessageId>,
    /// At most this many; at least 1.
    pub limit: u32,
}

/// A page of one branch.
#[derive(Debug, Clone)]
pub struct Branch {
    pub conversation: Conversation,
    /// From the root's side on.
    pub messages: Vec<BranchMessage>,
    /// The end of the branch; `None` while nothing was said.
    pub leaf_id: Option<MessageId>,
    /// There are more above.
    pub earlier: bool,
}

#[derive(Debug, Clone)]
pub struct BranchMessage {
    pub message: Message,
    /// Itself and the others below the same parent, in order of creation; empty when there are no others.
    pub siblings: Vec<MessageId>,
}

#[derive(Debug)]
pub enum BranchFound {
    Found(Box<Branch>),
    NotFound,
    /// The conversation is there; a message that the query names is none of its.
    UnknownMessage,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Until it is purged it can be restored.
    Done,
    NotFound,
    /// Still running, so nothing was deleted: end it first.
    Running(Vec<GenerationId>),
}

#[async_trait]
pub trait Conversations {
    /// The receipt is kept when `once` is given.
    async fn create_conversation(
        &self,
        owner: UserId,
        new: &NewConversation,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError>;
    /// All of it or nothing. The receipt is kept when `once` is given.
    async fn import_conversation(
        &self,
        owner: UserId,
        whole: &WholeConversation,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError>;
    /// At most `query.limit` rows, newest change first. The next page begins after the last row.
    async fn list_conversations(
        &self,
        owner: UserId,
        query: &ListQuery,
    ) -> Result<Vec<Listed>, StoreError>;
    /// With all its messages in order of creation.
    async fn conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<(Conversation, Vec<Message>)>, StoreError>;
    /// Without its messages.
    async fn conversation_alone(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError>;
    /// A page of one branch. What it costs grows with the page's texts, hardly with the conversation's.
    async fn branch(
        &self,
        owner: UserId,
        id: ConversationId,
        query: &BranchQuery,
    ) -> Result<BranchFound, StoreError>;
    /// Adds one to `version` (and touches `updated_at`) unless nothing is asked but the head; with `if_version`, only when that is the
    /// present one.
    async fn change_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
        change: &ConversationChange,
        if_version: Option<i64>,
    ) -> Result<Changed, StoreError>;
    /// A title that no person gave, in place of the beginning of the first question; a change that nobody made, so neither `version` nor
    /// `updated_at` moves. False when there is none such: a person named it, or it is gone.
    async fn give_title(
        &self,
        owner: UserId,
        id: ConversationId,
        title: &str,
    ) -> Result<bool, StoreError>;
    /// Hides it from every look-up of its owner, with its messages and generations, unless a generation is running.
    async fn delete_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Deleted, StoreError>;
    /// As it was before it was deleted; `None` once it is purged. Changes nothing when it is not deleted.
    async fn restore_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError>;
    /// Deletes for good what was deleted so long ago, by the database's clock; how many conversations. In many short transactions: a call
    /// that is dropped has purged some, and of one perhaps a part, which nobody can restore any more and the next call takes.
    async fn purge_conversations(&self, deleted_for: Duration) -> Result<u64, StoreError>;
}

/// What makes searches fast. They are right without it, only slower: texts that are not indexed are compared as they are.
#[async_trait]
pub trait SearchIndex {
    /// Indexes some of the texts that wait. False when no more of them are worth it: a hundred texts of a user are compared faster than
    /// looked up. In many short transactions: a call that is dropped has done some of it.
    async fn index_texts(&self) -> Result<bool, StoreError>;
}

/// What generations cost.
#[async_trait]
pub trait Spendings {
    /// Each counts once for its user and once for its key, however often it is told.
    async fn add_spendings(&self, spendings: &[Spending]) -> Result<(), StoreError>;
    /// What these users and keys, by their ids, spent on a day: each of them, in this order.
    async fn tokens_spent(
        &self,
        on_day: Date,
        spenders: &[Uuid],
    ) -> Result<Vec<(Uuid, u64)>, StoreError>;
    /// Forgets what was spent before a day.
    async fn forget_spendings(&self, before: Date) -> Result<u64, StoreError>;
}

/// Where a new prompt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Below the conversation's head.
    Head,
    /// Below this answer.
    Message(MessageId),
    /// A new beginning.
    Root,
}

/// A generation about to start. The ids are chosen by the caller, so that its answer is known before the effect.
#[derive(Debug, Clone)]
pub struct NewTurn {
    pub generation_id: GenerationId,
    /// The answer; of [`TurnOf::Continue`] the one that is there already.
    pub message_id: MessageId,
    /// Of the node that runs it.
    pub lease: Lease,
    /// What was asked for; kept on the answer. `None` takes the conversation's model.
    pub model: Option<String>,
    pub of: TurnOf,
}

#[derive(Debug, Clone)]
pub enum TurnOf {
    /// A new user message and its answer.
    Prompt {
        conversation_id: ConversationId,
        user_message_id: MessageId,
        parent: Parent,
        content: String,
    },
    /// Another answer to the question that this answer answers.
    Regenerate { message_id: MessageId },
    /// More text for [`NewTurn::message_id`], which ended before it was complete.
    Continue,
    /// An answer to the last message, its head, of a conversation that is stored with it. Its title is made as that of any other; without a
    /// question it has none.
    Exchange(Box<WholeConversation>),
}

/// What a stored turn needs to run.
#[derive(Debug, Clone)]
pub struct Turn {
    pub conversation_id: ConversationId,
    /// The message that is answered; `None` where nothing was said before the answer.
    pub parent_id: Option<MessageId>,
    /// What was asked for, else that of the answer which is carried on, else the conversation's.
    pub model: Option<String>,
    /// The conversation's system prompt.
    pub system: Option<String>,
    /// The conversation's.
    pub sampling: Sampling,
    /// The conversation's title is nothing but the beginning of its first question: no person gave it, and no model.
    pub is_untitled: bool,
    /// From the root to the message that is answered; empty of an exchange, whose asker knows it.
    pub path: Vec<PathMessage>,
    /// What the answer has already, when it is carried on.
    pub before: Option<Transcript>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMessage {
    pub role: crate::model::Role,
    pub content: String,
}

/// Why a turn cannot begin; nothing was stored.
#[derive(Debug, PartialEq, Eq)]
pub enum TurnRefused {
    /// No such conversation or message of this owner.
    NotFound,
    /// The parent is not a message of this conversation.
    UnknownParent,
    /// The parent is no answer, or the message to regenerate is none.
    NotAnAnswer,
    /// The parent, or the answer to carry on, is still streaming.
    Streaming(GenerationId),
    /// The answer to carry on is complete.
    Complete,
    /// The answer to carry on ends in tool calls, which no text continues.
    EndsInToolCalls,
}

/// A stored generation with the message it wrote: all that is needed when its log has left memory.
#[derive(Debug, Clone)]
pub struct StoredGeneration {
    pub record: GenerationRecord,
    pub message: Message,
}

#[async_trait]
pub trait Turns {
    /// Stores the user message (of a prompt), the streaming answer and the running generation; the answer becomes the
    /// conversation's head. All in one transaction with the receipt. Of two at once below the same head, the later one sees the
    /// earlier one's streaming answer as its parent and is refused.
    ///
    /// Carrying on an answer that was interrupted, stopped, truncated, failed or ended by the length limit makes it stream again;
    /// its text stays as it is until the end. The head moves to it only when nothing was said after it.
    ///
    /// Unavailable when the lease is not the node's present one; one that is merely late will do.
    async fn begin_turn(
        &self,
        owner: UserId,
        new: &NewTurn,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Result<Effect<Turn>, TurnRefused>, StoreError>;
    /// What was answered under this key, if anything (24 hours).
    async fn receipt(&self, owner: UserId, once: &Once) -> Result<Option<Effect<()>>, StoreError>;
    /// Stores the end of a running generation, its message, and `tail`, the events that were not recorded before; all in one
    /// transaction. False when it is not running any more (or gone): nothing was written.
    ///
    /// A generation that was [recovered](Recordings::recover) ends once more, as it really did, as long as nobody carried on or
    /// replaced its text. With [`Ending::leaves_message`] the message gets back what it was before this generation, its earlier
    /// `generation_id` included; its text was never touched. Where no generation was before, it ends like any other.
    ///
    /// From its first position on, `tail` takes the place of what was recorded: a batch may have arrived unnoticed. It is left out
    /// when the events of this generation were forgotten.
    async fn end_generation(
        &self,
        id: GenerationId,
        ending: &Ending,
        tail: &[EventSegment],
    ) -> Result<bool, StoreError>;
    async fn generation(
        &self,
        owner: UserId,
        id: GenerationId,
    ) -> Result<Option<StoredGeneration>, StoreError>;
    /// Forgets receipts kept before this time.
    async fn forget_receipts(&self, before: OffsetDateTime) -> Result<u64, StoreError>;
    /// Cheap proof that the database answers and, on SQLite, that a transaction that writes can begin. Writes nothing, so it does not
    /// see a full disk.
    async fn check(&self) -> Result<(), StoreError>;
}

/// A node's right to write what its running generations say. A node that does not renew it in time loses it: others end its
/// generations then, and what it writes with the old epoch is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub node: NodeId,
    /// Rises whenever the lease changes hands: with every start of the node, and when another takes its generations over.
    pub epoch: i64,
}

/// A generation whose process is gone, as far as it was recorded.
#[derive(Debug, Clone)]
pub struct LeftOver {
    pub id: GenerationId,
    /// What its message holds: the text that was there before, of one that carries an answer on.
    pub before: Transcript,
    /// In order.
    pub events: Vec<EventSegment>,
}

/// Events while they are written, and who may write them. Times are the database's: the clocks of nodes differ.
#[async_trait]
pub trait Recordings {
    /// The lease that an earlier process of this node held, if any.
    async fn lease(&self, node: NodeId) -> Result<Option<Lease>, StoreError>;
    /// Takes the node's lease in a new epoch, for so long. Generations begun in earlier epochs are left over.
    async fn take_lease(&self, node: NodeId, lasts: Duration) -> Result<Lease, StoreError>;
    /// False when the lease has been taken away, or by another process of this node; nothing changed then. One that is merely late
    /// is good again.
    async fn renew_lease(&self, lease: Lease, lasts: Duration) -> Result<bool, StoreError>;
    /// Puts those of this node's generations that still run under the present lease, after [`take_lease`](Self::take_lease) in a
    /// process that never stopped running them. Returns those that are under it now; none when this is not the present lease.
    async fn keep_running(
        &self,
        lease: Lease,
        ids: &[GenerationId],
    ) -> Result<Vec<GenerationId>, StoreError>;
    /// Adds segments of many generations, in one statement. Of two with the same generation and first position the longer one stays;
    /// one whose generation does not run any more, or not under this lease, is left out: the same batch may come twice. When the store
    /// refuses one, none is added.
    /// Unavailable when this is not the node's lease any more: what is said then waits until it has another.
    async fn append_events(
        &self,
        lease: Lease,
        segments: &[EventSegment],
    ) -> Result<(), StoreError>;
    /// Recorded segments that hold events after `after`, in order of their first positions; the first may begin before, and where a
    /// batch arrived unnoticed two may overlap.
    async fn events(&self, id: GenerationId, after: u64) -> Result<Vec<EventSegment>, StoreError>;

    /// This node's generations that the store calls running, oldest first.
    async fn running_here(&self, node: NodeId) -> Result<Vec<GenerationId>, StoreError>;
    /// Takes the leases of other nodes that did not renew them in time: their generations that the store calls running, oldest
    /// first. Those of a node that comes back before they are recovered are its own again. Until then every sweep finds them.
    async fn seize_expired(&self, lease: Lease) -> Result<Vec<GenerationId>, StoreError>;
    /// True when another node runs this generation and its lease is good.
    async fn runs_elsewhere(&self, node: NodeId, id: GenerationId) -> Result<bool, StoreError>;
    /// `None` when the store does not call it running.
    async fn left_over(&self, id: GenerationId) -> Result<Option<LeftOver>, StoreError>;
    /// Ends a generation whose process is gone, and marks it as recovered. False when it is not `node`'s, and its own node's epoch has
    /// not moved on since it began: that node runs it. False, too, when it does not run any more.
    async fn recover(
        &self,
        node: NodeId,
        id: GenerationId,
        ending: &Ending,
    ) -> Result<bool, StoreError>;

    /// True when the generation ended like this, or is not there any more. False when it runs, or somebody else ended it.
    async fn has_end(&self, id: GenerationId, ending: &Ending) -> Result<bool, StoreError>;

    /// Forgets the events of generations that ended before this time; how many generations. In many short transactions: a call that is
    /// dropped has forgotten some.
    async fn forget_events(&self, ended_before: OffsetDateTime) -> Result<u64, StoreError>;
}
