//! One branch of a conversation, page by page, and its head.

use crate::scratch::*;
use continuo::{model::*, store::*};

async fn branch(
    store: &dyn Store,
    owner: UserId,
    id: ConversationId,
    query: BranchQuery,
) -> Branch {
    match store.branch(owner, id, &query).await.unwrap() {
        BranchFound::Found(branch) => *branch,
        other => panic!("{other:?}"),
    }
}

fn texts(branch: &Branch) -> Vec<&str> {
    let messages = branch.messages.iter();
    messages.map(|read| &*read.message.content).collect()
}

fn head(id: MessageId) -> ConversationChange {
    ConversationChange {
        head_id: Some(id),
        ..Default::default()
    }
}

pub async fn pages_of_a_branch_are_its_messages_once_and_in_order(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    let first = exchange(store, owner, id, "q0", "a0").await;
    for n in 1..150 {
        exchange(store, owner, id, &format!("q{n}"), &format!("a{n}")).await;
    }
    let other = turn(TurnOf::Regenerate {
        message_id: first.message_id,
    });
    begin(store, owner, &other).await;
    end(store, &other, "other").await;

    let through = Some(first.message_id);
    let query = |before, limit| BranchQuery {
        through,
        before,
        limit,
    };
    let whole = branch(store, owner, id, query(None, u32::MAX)).await;
    assert_eq!(whole.messages.len(), 300);
    assert!(!whole.earlier);
    let all = messages(store, owner, id).await;
    for read in &whole.messages {
        let same = all.iter().find(|message| message.id == read.message.id);
        assert_eq!(
            format!("{:?}", read.message),
            format!("{:?}", same.unwrap())
        );
    }
    let siblings = [first.message_id, other.message_id];
    assert_eq!(whole.messages[1].siblings, siblings);
    let others = whole
        .messages
        .iter()
        .filter(|read| !read.siblings.is_empty());
    assert_eq!(others.count(), 1);

    let mut read: Vec<String> = Vec::new();
    let mut before = None;
    loop {
        let page = branch(store, owner, id, query(before, 7)).await;
        assert_eq!(page.leaf_id, whole.leaf_id);
        read.splice(0..0, texts(&page).into_iter().map(str::to_owned));
        before = page.messages.first().map(|read| read.message.id);
        if !page.earlier {
            break;
        }
    }
    assert_eq!(read, texts(&whole));

    let at_head = branch(
        store,
        owner,
        id,
        BranchQuery {
            limit: 9,
            ..Default::default()
        },
    )
    .await;
    assert_eq!(texts(&at_head), ["q0", "other"]);
    assert_eq!(at_head.leaf_id, Some(other.message_id));
}

pub async fn what_is_not_of_a_conversation_has_no_branch_in_it(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let stranger = user(store, "bob").await;
    let id = conversation(store, owner, "c").await;
    let foreign = conversation(store, owner, "d").await;
    let foreign = exchange(store, owner, foreign, "q", "a").await.message_id;
    exchange(store, owner, id, "q", "a").await;
    let ask = async |owner, id, through, before| {
        let query = BranchQuery {
            through,
            before,
            limit: 9,
        };
        store.branch(owner, id, &query).await.unwrap()
    };
    for (through, before) in [
        (Some(foreign), None),
        (None, Some(foreign)),
        (None, Some(MessageId::new())),
    ] {
        let found = ask(owner, id, through, before).await;
        assert!(matches!(found, BranchFound::UnknownMessage), "{found:?}");
    }
    for (owner, id) in [(stranger, id), (owner, ConversationId::new())] {
        let found = ask(owner, id, None, None).await;
        assert!(matches!(found, BranchFound::NotFound), "{found:?}");
    }
}

pub async fn a_head_moves_within_its_conversation_and_counts_as_no_change(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    let first = exchange(store, owner, id, "q0", "a0").await;
    exchange(store, owner, id, "q1", "a1").await;
    let before = read(store, owner, id).await;
    later().await;
    let change = async |change: &ConversationChange, version| {
        let changed = store.change_conversation(owner, id, change, version);
        changed.await.unwrap()
    };
    let moved = match change(&head(first.message_id), Some(1)).await {
        Changed::Done(conversation) => conversation,
        other => panic!("{other:?}"),
    };
    assert_eq!(moved.head_id, Some(first.message_id));
    assert_eq!(moved.version, before.version);
    assert_eq!(moved.updated_at, before.updated_at);

    let foreign = conversation(store, owner, "d").await;
    let foreign = exchange(store, owner, foreign, "q", "a").await;
    for id in [foreign.message_id, MessageId::new()] {
        let both = ConversationChange {
            title: Some("never".into()),
            ..head(id)
        };
        for asked in [head(id), both] {
            let refused = change(&asked, None).await;
            assert!(matches!(refused, Changed::UnknownHead), "{refused:?}");
            let stale = change(&asked, Some(7)).await;
            assert!(matches!(stale, Changed::VersionIs(1)), "{stale:?}");
        }
    }
    let both = ConversationChange {
        pinned: Some(true),
        ..head(user_message(&first))
    };
    let Changed::Done(both) = change(&both, None).await else {
        panic!("it is a message of this conversation")
    };
    assert_eq!((both.version, both.pinned), (2, true));
    assert!(both.updated_at > before.updated_at);
    let now = read(store, owner, id).await;
    assert_eq!(format!("{now:?}"), format!("{both:?}"));
}
