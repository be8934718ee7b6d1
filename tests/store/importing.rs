//! Whole conversations, stored at once.

use crate::{scratch::*, turns::polled};
use continuo::{model::*, store::*};
use serde_json::json;
use time::macros::datetime;

const AT: time::OffsetDateTime = datetime!(2026-01-02 03:04:05.678 UTC);

/// A line of messages with everything that one can have, and a sibling at its end.
fn whole(count: usize) -> WholeConversation {
    let mut messages: Vec<Message> = Vec::new();
    for n in 0..count {
        let asks = n % 2 == 0;
        let call = json!({"id": "c", "function": {"arguments": "{\"x\": 1e3}"}});
        let parent = messages.last().map(|message| message.id);
        messages.push(Message {
            id: MessageId::new(),
            parent_id: parent,
            role: if asks { Role::User } else { Role::Assistant },
            content: format!("text {n} Grüße 你好 🙂\n"),
            reasoning: (!asks).then(|| format!("thought {n}")),
            tool_calls: (n % 4 == 1).then(|| vec![call.as_object().unwrap().clone()]),
            model: (!asks).then(|| "m".into()),
            status: Progress::Ended(if n % 6 == 1 {
                Outcome::Stopped
            } else {
                Outcome::Completed
            }),
            finish_reason: (n % 6 == 3).then(|| "stop".into()),
            usage: (!asks).then_some(Usage {
                prompt_tokens: n as u64,
                completion_tokens: 7,
                estimated: n % 4 == 1,
            }),
            timings: (!asks).then_some(Timings {
                first_token_ms: (n % 4 == 1).then_some(3),
                thinking_ms: (n % 4 == 3).then_some(4),
                total_ms: 5,
            }),
            problem: None,
            generation_id: None,
            created_at: AT + time::Duration::seconds(i64::try_from(n).unwrap()),
        });
    }
    if let Some(last) = messages.last().cloned() {
        messages.push(Message {
            id: MessageId::new(),
            ..last
        });
    }
    WholeConversation {
        new: NewConversation {
            id: ConversationId::new(),
            title: "Title".into(),
            model: None,
            system: Some("s".into()),
            sampling: Sampling {
                seed: Some(1),
                ..Sampling::default()
            },
            created_at: AT,
        },
        updated_at: AT + time::Duration::hours(1),
        head_id: messages.get(count / 2).map(|message| message.id),
        messages,
    }
}

pub async fn a_whole_conversation_reads_back_as_it_was_given(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    // None, one, those of one statement, and of several.
    for count in [0, 1, 499, 1203] {
        let whole = whole(count);
        let made = store.import_conversation(owner, &whole, None).await;
        let Ok(Effect::Done(made)) = made else {
            panic!("{made:?}")
        };
        assert_eq!(format!("{made:?}"), format!("{:?}", whole.created()));
        let id = whole.new.id;
        let (conversation, messages) = store.conversation(owner, id).await.unwrap().unwrap();
        assert_eq!(format!("{conversation:?}"), format!("{made:?}"));
        assert_eq!(messages.len(), whole.messages.len());
        for (read, given) in messages.iter().zip(&whole.messages) {
            assert_eq!(format!("{read:?}"), format!("{given:?}"));
        }
    }
    let found = list(store, owner, Some("grüße 1202"), None, 9).await;
    assert_eq!(found.len(), 1, "what is imported is found");
    let id = found[0].conversation.id;
    let stranger = user(store, "bob").await;
    assert!(store.conversation(stranger, id).await.unwrap().is_none());

    // It goes on like any other.
    let next = prompt(id, Parent::Root, "more");
    begin(store, owner, &next).await;
    end(store, &next, "More").await;
    let messages = messages(store, owner, id).await;
    assert_eq!(messages.last().unwrap().content, "More");
    let continued = messages.iter().find(|message| {
        message.status == Progress::Ended(Outcome::Stopped) && message.tool_calls.is_none()
    });
    let continued = NewTurn {
        message_id: continued.unwrap().id,
        ..turn(TurnOf::Continue)
    };
    begin(store, owner, &continued).await;
    let given_up = Ending {
        outcome: Outcome::Failed,
        leaves_message: true,
        ..ending("")
    };
    let ended = store.end_generation(continued.generation_id, &given_up, &[]);
    assert!(ended.await.unwrap());
}

pub async fn an_import_that_fails_or_is_dropped_leaves_nothing(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut broken = whole(600);
    broken.messages[599].parent_id = Some(MessageId::new());
    let refused = store.import_conversation(owner, &broken, None).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let read = store.conversation(owner, broken.new.id).await.unwrap();
    assert!(read.is_none());

    let whole = whole(600);
    for polls in 0.. {
        let import = store.import_conversation(owner, &whole, None);
        let is_done = polled(import, polls).await;
        let left = db.number("SELECT count(*) FROM messages").await;
        assert!(left == 0 || left == 601, "{left} after {polls} polls");
        if is_done {
            break;
        }
    }
    assert_eq!(messages(store, owner, whole.new.id).await.len(), 601);
}

pub async fn an_import_happens_once_for_a_key(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let (first, second) = (whole(3), whole(3));
    let import = async |whole: &WholeConversation, key: Once| {
        let receipt = receipt(&whole.new.id);
        let once = Some((&key, &receipt));
        let effect = store.import_conversation(owner, whole, once).await.unwrap();
        (effect, receipt)
    };
    let (done, told) = import(&first, once("k", 1)).await;
    assert!(matches!(done, Effect::Done(_)));
    let (before, _) = import(&second, once("k", 1)).await;
    assert!(matches!(before, Effect::Before(kept) if kept == told));
    let (reused, _) = import(&second, once("k", 2)).await;
    assert!(matches!(reused, Effect::KeyReused));
    assert_eq!(list(store, owner, None, None, 9).await.len(), 1);
}
