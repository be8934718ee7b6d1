//! Conversations as people make and change them. What is stored is told to the feed, whoever still waits for the answer.

use super::{Chat, ChatError};
use crate::{
    feed::FeedEvent,
    model::{Conversation, ConversationId, UserId},
    store::{
        Changed, ConversationChange, Effect, NewConversation, Once, Receipt, StoreError,
        WholeConversation,
    },
    text::with_causes,
};
use std::sync::Arc;

impl Chat {
    /// The receipt is kept when `once` is given.
    pub async fn create_conversation(
        self: &Arc<Self>,
        owner: UserId,
        new: NewConversation,
        once: Option<(Once, Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError> {
        let chat = self.clone();
        self.to_its_end(async move {
            let once = once.as_ref().map(|(once, receipt)| (once, receipt));
            let made = chat.store.create_conversation(owner, &new, once).await?;
            if let Effect::Done(conversation) = &made {
                chat.tell(owner, conversation.id);
            }
            Ok(made)
        })
        .await
    }

    /// All of it or nothing. The receipt is kept when `once` is given.
    pub async fn import_conversation(
        self: &Arc<Self>,
        owner: UserId,
        whole: WholeConversation,
        once: Option<(Once, Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError> {
        let chat = self.clone();
        self.to_its_end(async move {
            let once = once.as_ref().map(|(once, receipt)| (once, receipt));
            let made = chat.store.import_conversation(owner, &whole, once).await?;
            if let Effect::Done(conversation) = &made {
                chat.tell(owner, conversation.id);
            }
            Ok(made)
        })
        .await
    }

    /// With `if_version`, only when that is the present one.
    pub async fn change_conversation(
        self: &Arc<Self>,
        owner: UserId,
        id: ConversationId,
        change: ConversationChange,
        if_version: Option<i64>,
    ) -> Result<Changed, StoreError> {
        let chat = self.clone();
        self.to_its_end(async move {
            let changed = chat
                .store
                .change_conversation(owner, id, &change, if_version);
            let changed = changed.await?;
            if matches!(changed, Changed::Done(_)) {
                chat.tell(owner, id);
            }
            Ok(changed)
        })
        .await
    }

    /// Takes a deletion back; of one that is not deleted, how it stands. `None` when it is not there, or purged.
    pub async fn restore_conversation(
        self: &Arc<Self>,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let chat = self.clone();
        self.to_its_end(async move {
            let restored = chat.store.restore_conversation(owner, id).await?;
            if restored.is_some() {
                chat.tell(owner, id);
            }
            Ok(restored)
        })
        .await
    }

    /// Ends what runs in it, waits for that, and hides it until it is restored or purged. False when it is not there.
    pub async fn delete_conversation(
        self: &Arc<Self>,
        owner: UserId,
        id: ConversationId,
    ) -> Result<bool, ChatError> {
        let chat = self.clone();
        self.to_its_end(async move {
            let deleted = chat.end_and_delete(owner, id).await?;
            if deleted {
                chat.tell_row(owner, id, Some(FeedEvent::Deleted { id }));
            }
            Ok(deleted)
        })
        .await
    }

    /// Tells the feed of `owner` how this conversation stands now. To be called after every stored change of it, whatever the change
    /// was. Costs nothing when nobody listens, and returns at once. Nothing is told of one that is gone: who deleted it does that.
    pub fn tell(self: &Arc<Self>, owner: UserId, id: ConversationId) {
        self.tell_row(owner, id, None);
    }

    /// `gone` is what to tell when it is not there.
    fn tell_row(
        self: &Arc<Self>,
        owner: UserId,
        id: ConversationId,
        gone: Option<FeedEvent<'static>>,
    ) {
        let Some(feed) = self.feeds.followed(owner) else {
            return;
        };
        let chat = self.clone();
        self.tasks.spawn(async move {
            // Read and told in one order: what is told last is how it stands, whichever of two changes was quicker.
            let _telling = feed.telling.lock().await;
            match chat.store.conversation_alone(owner, id).await {
                Ok(Some(conversation)) => feed.tell(&FeedEvent::Conversation(&conversation)),
                Ok(None) => gone.iter().for_each(|gone| feed.tell(gone)),
                Err(error) => {
                    tracing::warn!(user.id = %owner, error = with_causes(&error), "a feed starts over: a change could not be read");
                    feed.lose();
                }
            }
        });
    }

    /// Does it in a task of its own, like a start: a client that leaves meanwhile does not leave half of it undone.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.tasks.spawn(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
