//! Exchanges that begin with all that was said before: conversation, answer and generation are stored together or not at all.

use crate::{scratch::*, turns::polled};
use continuo::{model::*, store::*};

/// What was said, in turns, and the answer that is about to be written.
fn exchange(said: &[&str]) -> NewTurn {
    let mut messages: Vec<Message> = Vec::new();
    for (n, content) in said.iter().enumerate() {
        messages.push(Message {
            id: MessageId::new(),
            parent_id: messages.last().map(|message| message.id),
            role: if n % 2 == 0 {
                Role::User
            } else {
                Role::Assistant
            },
            content: (*content).to_owned(),
            reasoning: None,
            tool_calls: None,
            model: None,
            status: Progress::Ended(Outcome::Completed),
            finish_reason: None,
            usage: None,
            timings: None,
            problem: None,
            generation_id: None,
            created_at: now(),
        });
    }
    turn(TurnOf::Exchange(Box::new(WholeConversation {
        new: NewConversation {
            id: ConversationId::new(),
            title: String::new(),
            model: Some("m".into()),
            system: Some("Be kind.".into()),
            sampling: Sampling::default(),
            created_at: now(),
        },
        updated_at: now(),
        head_id: messages.last().map(|message| message.id),
        messages,
    })))
}

fn whole(new: &NewTurn) -> &WholeConversation {
    match &new.of {
        TurnOf::Exchange(whole) => whole,
        other => panic!("{other:?}"),
    }
}

pub async fn an_exchange_is_a_conversation_whose_last_message_is_answered(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let new = exchange(&["Grüße\nmore", "Hello.", "And now?"]);
    let said = whole(&new);
    let begun = begin(store, owner, &new).await;
    assert_eq!(begun.conversation_id, said.new.id);
    assert_eq!(begun.parent_id, said.head_id);
    assert_eq!(begun.model.as_deref(), Some("m"));

    let (conversation, read) = store
        .conversation(owner, said.new.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(conversation.title, "Grüße");
    assert_eq!(conversation.system.as_deref(), Some("Be kind."));
    assert_eq!(conversation.head_id, Some(new.message_id));
    assert_eq!(read.len(), 4);
    for (read, given) in read.iter().zip(&said.messages) {
        assert_eq!(format!("{read:?}"), format!("{given:?}"));
    }
    let answer = &read[3];
    assert_eq!(
        (answer.id, answer.parent_id),
        (new.message_id, said.head_id)
    );
    assert_eq!((&*answer.content, answer.status), ("", Progress::Running));
    assert_eq!(answer.model.as_deref(), Some("m"));
    assert_eq!(answer.generation_id, Some(new.generation_id));

    // It is recorded and ends as any other, is found, and goes on.
    store
        .append_events(PRESENT, &[segment(&new, 1, 3)])
        .await
        .unwrap();
    assert_eq!(recorded(store, &new).await, [segment(&new, 1, 3)]);
    end(store, &new, "Now.").await;
    let stored = stored(store, owner, &new).await;
    assert_eq!(stored.record.status, Progress::Ended(Outcome::Completed));
    assert_eq!(stored.message.content, "Now.");
    assert_eq!(list(store, owner, Some("grüße"), None, 9).await.len(), 1);
    let next = begin(store, owner, &prompt(said.new.id, Parent::Head, "Then?")).await;
    let path: Vec<_> = next.path.iter().map(|message| &*message.content).collect();
    assert_eq!(path, ["Grüße\nmore", "Hello.", "And now?", "Now.", "Then?"]);

    // Nothing has to be said before an answer.
    let new = exchange(&[]);
    assert_eq!(begin(store, owner, &new).await.parent_id, None);
    end(store, &new, "Hi").await;
    let read = messages(store, owner, whole(&new).new.id).await;
    assert_eq!((&*read[0].content, read[0].parent_id), ("Hi", None));
    assert_eq!(
        crate::scratch::read(store, owner, whole(&new).new.id)
            .await
            .title,
        ""
    );
    let stranger = user(store, "bob").await;
    assert!(
        store
            .conversation(stranger, said.new.id)
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn an_exchange_that_fails_or_is_dropped_leaves_nothing(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let nothing = async || {
        for sql in [
            "SELECT COUNT(*) FROM conversations",
            "SELECT COUNT(*) FROM messages",
            "SELECT COUNT(*) FROM generations",
            "SELECT COUNT(*) FROM idempotency_keys",
        ] {
            assert_eq!(db.number(sql).await, 0, "{sql}");
        }
    };
    // Its last step, under a lease that was taken away.
    let stale = Lease {
        epoch: PRESENT.epoch - 1,
        ..PRESENT
    };
    let new = under(stale, exchange(&["hi"]));
    let (once, receipt) = (once("k", 1), receipt(&1));
    let begun = store.begin_turn(owner, &new, Some((&once, &receipt))).await;
    assert!(
        matches!(begun, Err(StoreError::Unavailable(_))),
        "{begun:?}"
    );
    nothing().await;
    // Dropped at each of its waits, until it is through.
    let new = exchange(&["hi", "ho", "hey"]);
    for polls in 0.. {
        let begun = store.begin_turn(owner, &new, Some((&once, &receipt)));
        let is_done = polled(begun, polls).await;
        let left = db.number("SELECT COUNT(*) FROM messages").await;
        assert!(left == 0 || left == 4, "{left} after {polls} polls");
        let kept = db.number("SELECT COUNT(*) FROM idempotency_keys").await;
        assert_eq!(kept, left / 4, "after {polls} polls");
        if is_done {
            break;
        }
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM conversations").await, 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM generations").await, 1);
}

pub async fn of_twenty_twins_one_exchange_is_stored(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let once = once("k", 1);
    let twins: Vec<_> = (0..20).map(|n| (exchange(&["hi"]), receipt(&n))).collect();
    let begun = twins
        .iter()
        .map(|(new, receipt)| store.begin_turn(owner, new, Some((&once, receipt))));
    let begun = futures_util::future::join_all(begun).await;
    let done = begun
        .iter()
        .filter(|begun| matches!(begun, Ok(Ok(Effect::Done(_)))));
    assert_eq!(done.count(), 1);
    let before = begun
        .iter()
        .filter(|begun| matches!(begun, Ok(Ok(Effect::Before(_)))));
    assert_eq!(before.count(), 19);
    assert_eq!(db.number("SELECT COUNT(*) FROM conversations").await, 1);
}
