//! Answers that are carried on.

use crate::scratch::*;
use continuo::{event::Transcript, model::*, store::*};
use futures_util::future::join_all;
use serde_json::json;

async fn answered(store: &dyn Store, owner: UserId, id: ConversationId, told: &Ending) -> NewTurn {
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let ended = store.end_generation(new.generation_id, told, &[]).await;
    assert!(ended.unwrap());
    new
}

fn cut(content: &str) -> Ending {
    Ending {
        outcome: Outcome::Stopped,
        finish_reason: None,
        ..ending(content)
    }
}

pub async fn an_unfinished_answer_streams_again_with_its_text(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    exchange(store, owner, id, "q0", "a0").await;
    // Code points: a family of three with two joiners, and an e with its accent apart.
    let text = "ab 👨\u{200d}👩\u{200d}👧 e\u{301} 漢";
    let told = Ending {
        outcome: Outcome::Failed,
        reasoning: Some("because".into()),
        model: Some("first-model".into()),
        usage: Some(Usage {
            prompt_tokens: 1,
            completion_tokens: 2,
            estimated: false,
        }),
        problem: Some(Problem::new(502, "upstream", "t", "d")),
        ..ending(text)
    };
    let first = answered(store, owner, id, &told).await;
    let before = read(store, owner, id).await;
    later().await;
    let more = continuing(&first);
    let turn = begin(store, owner, &more).await;
    assert_eq!(turn.conversation_id, id);
    assert_eq!(turn.parent_id, Some(user_message(&first)));
    assert_eq!(turn.model.as_deref(), Some("first-model"));
    let path: Vec<_> = turn.path.iter().map(|m| &*m.content).collect();
    assert_eq!(path, ["q0", "a0", "q"]);
    let transcript = Transcript {
        text: text.into(),
        reasoning: "because".into(),
        tool_calls: Vec::new(),
    };
    assert_eq!(turn.before, Some(transcript));
    let base = db
        .number("SELECT base FROM generations WHERE continues IS NOT NULL")
        .await;
    assert_eq!(base, 13);

    let StoredGeneration { record, message } = stored(store, owner, &more).await;
    assert_eq!(record.status, Progress::Running);
    assert_eq!(record.message_id, Some(first.message_id));
    assert_eq!(message.status, Progress::Running);
    assert_eq!(message.generation_id, Some(more.generation_id));
    assert_eq!(message.content, text);
    assert_eq!(message.reasoning.as_deref(), Some("because"));
    assert_eq!((message.finish_reason, message.usage), (None, None));
    assert_eq!((message.timings, message.problem), (None, None));
    let after = read(store, owner, id).await;
    assert_eq!(messages(store, owner, id).await.len(), 4);
    assert_eq!(after.head_id, Some(first.message_id));
    assert_eq!(after.version, before.version);
    assert!(after.updated_at > before.updated_at);
    // The end of the first one is over.
    let late = store
        .end_generation(first.generation_id, &ending("x"), &[])
        .await;
    assert!(!late.unwrap());

    end(store, &more, &format!("{text} UND MEHR")).await;
    let message = stored(store, owner, &more).await.message;
    assert_eq!(message.content, format!("{text} UND MEHR"));
    assert_eq!(message.status, Progress::Ended(Outcome::Completed));
    assert_eq!(list(store, owner, Some("und mehr"), None, 9).await.len(), 1);
    // The first one's own record stays as it ended.
    let record = stored(store, owner, &first).await.record;
    assert_eq!(record.status, Progress::Ended(Outcome::Failed));

    let asked = NewTurn {
        model: Some("asked".into()),
        ..continuing(&answered(store, owner, id, &cut("a")).await)
    };
    let turn = begin(store, owner, &asked).await;
    assert_eq!(turn.model.as_deref(), Some("asked"));
}

pub async fn what_ended_before_it_was_complete_can_be_carried_on(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for (outcome, finish_reason, is_open) in [
        (Outcome::Interrupted, None, true),
        (Outcome::Stopped, None, true),
        (Outcome::Truncated, None, true),
        (Outcome::Failed, Some("stop"), true),
        (Outcome::Completed, Some("length"), true),
        (Outcome::Completed, Some("stop"), false),
        (Outcome::Completed, Some("content_filter"), false),
        (Outcome::Completed, None, false),
    ] {
        let id = conversation(store, owner, "t").await;
        let told = Ending {
            outcome,
            finish_reason: finish_reason.map(str::to_owned),
            ..ending("")
        };
        let more = continuing(&answered(store, owner, id, &told).await);
        let begun = store.begin_turn(owner, &more, None).await.unwrap();
        if is_open {
            assert!(matches!(begun, Ok(Effect::Done(_))), "{begun:?}");
        } else {
            assert_eq!(begun.unwrap_err(), TurnRefused::Complete);
        }
    }
}

pub async fn what_cannot_be_carried_on_is_refused_and_stays(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let stranger = user(store, "bob").await;
    let id = conversation(store, owner, "t").await;
    let calls = json!([{"id": "c", "function": {"name": "f", "arguments": "{"}}]);
    let calling = Ending {
        tool_calls: Some(serde_json::from_value(calls).unwrap()),
        ..cut("a")
    };
    let calling = answered(store, owner, id, &calling).await;
    let complete = exchange(store, owner, id, "q", "a").await;
    let open = answered(store, owner, id, &cut("a")).await;
    let running = prompt(id, Parent::Head, "q");
    begin(store, owner, &running).await;
    let before = format!("{:?}", store.conversation(owner, id).await.unwrap());
    let question = NewTurn {
        message_id: user_message(&open),
        ..continuing(&open)
    };
    for (who, new, expected) in [
        (owner, turn(TurnOf::Continue), TurnRefused::NotFound),
        (stranger, continuing(&open), TurnRefused::NotFound),
        (owner, question, TurnRefused::NotAnAnswer),
        (
            owner,
            continuing(&running),
            TurnRefused::Streaming(running.generation_id),
        ),
        (owner, continuing(&calling), TurnRefused::EndsInToolCalls),
        (owner, continuing(&complete), TurnRefused::Complete),
    ] {
        assert_eq!(refused(store, who, &new).await, expected);
        let generation = store.generation(owner, new.generation_id).await;
        assert!(generation.unwrap().is_none());
    }
    let after = format!("{:?}", store.conversation(owner, id).await.unwrap());
    assert_eq!(before, after);
}

pub async fn of_twenty_who_carry_on_one_does(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let first = answered(store, owner, id, &cut("a")).await;
    let calls = (0..20).map(|n| {
        let store = if n % 2 == 0 { store } else { &*other };
        let more = continuing(&first);
        async move {
            let begun = store.begin_turn(owner, &more, None).await;
            (more, begun.unwrap())
        }
    });
    let (mut begun, mut in_the_way) = (Vec::new(), Vec::new());
    for (more, outcome) in join_all(calls).await {
        match outcome {
            Ok(Effect::Done(_)) => begun.push(more),
            Err(TurnRefused::Streaming(id)) => in_the_way.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((begun.len(), in_the_way.len()), (1, 19));
    assert!(in_the_way.iter().all(|id| *id == begun[0].generation_id));
}

pub async fn carrying_on_happens_once_for_a_key(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let first = answered(store, owner, id, &cut("a")).await;
    let more = continuing(&first);
    let (key, kept) = (once("k", 1), receipt(&more.generation_id));
    let begun = store.begin_turn(owner, &more, Some((&key, &kept))).await;
    assert!(matches!(begun, Ok(Ok(Effect::Done(_)))), "{begun:?}");
    let again = continuing(&first);
    let begun = store.begin_turn(owner, &again, Some((&key, &kept))).await;
    let Ok(Ok(Effect::Before(before))) = begun else {
        panic!("{begun:?}")
    };
    assert_eq!(before, kept);
}

pub async fn the_head_moves_only_to_an_answer_that_was_the_last_word(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let first = answered(store, owner, id, &cut("a")).await;
    let sibling = turn(TurnOf::Regenerate {
        message_id: first.message_id,
    });
    begin(store, owner, &sibling).await;
    end(store, &sibling, "b").await;
    assert_eq!(
        read(store, owner, id).await.head_id,
        Some(sibling.message_id)
    );
    let more = continuing(&first);
    begin(store, owner, &more).await;
    assert_eq!(read(store, owner, id).await.head_id, Some(first.message_id));
    let told = cut("aa");
    let ended = store.end_generation(more.generation_id, &told, &[]).await;
    assert!(ended.unwrap());
    let below = exchange(store, owner, id, "q", "c").await;
    begin(store, owner, &continuing(&first)).await;
    assert_eq!(read(store, owner, id).await.head_id, Some(below.message_id));
}

pub async fn an_answer_to_which_nothing_was_added_is_as_before(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let told = Ending {
        outcome: Outcome::Truncated,
        reasoning: Some("because".into()),
        model: Some("first-model".into()),
        finish_reason: Some("f".into()),
        usage: Some(Usage {
            prompt_tokens: 1,
            completion_tokens: 2,
            estimated: true,
        }),
        problem: Some(Problem::new(502, "upstream-truncated", "t", "d")),
        ..ending("Anfang")
    };
    let first = answered(store, owner, id, &told).await;
    let before = stored(store, owner, &first).await;
    let refusal = Ending {
        outcome: Outcome::Failed,
        problem: Some(Problem::new(400, "upstream-refused", "t", "no")),
        model: Some("other-model".into()),
        leaves_message: true,
        last_seq: 2,
        ..ending("Anfang")
    };
    // Twice in a row: what is given back is always the answer's own end.
    for _ in 0..2 {
        let more = NewTurn {
            model: Some("other-model".into()),
            ..continuing(&first)
        };
        begin(store, owner, &more).await;
        let ended = store
            .end_generation(more.generation_id, &refusal, &[])
            .await;
        assert!(ended.unwrap());
        let StoredGeneration { record, message } = stored(store, owner, &more).await;
        assert_eq!(format!("{message:?}"), format!("{:?}", before.message));
        assert_eq!(record.status, Progress::Ended(Outcome::Failed));
        assert_eq!((record.seq, record.problem), (2, refusal.problem.clone()));
        assert_eq!(record.model.as_deref(), Some("other-model"));
    }
    let hits = list(store, owner, Some("anfang"), None, 9).await;
    assert_eq!(hits.len(), 1);
    // Where no generation came before there is nothing to give back: the answer ends all the same.
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let ended = store.end_generation(new.generation_id, &refusal, &[]).await;
    assert!(ended.unwrap());
    let message = stored(store, owner, &new).await.message;
    assert_eq!(message.status, Progress::Ended(Outcome::Failed));
}
