//! Turns: how they begin, end and are refused.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::join_all;
use serde_json::json;
use std::{collections::HashSet, future::poll_fn, pin::pin, task::Poll};

pub async fn a_prompt_stores_question_answer_and_head(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let made = NewConversation {
        id: ConversationId::new(),
        title: "t".into(),
        model: Some("default-model".into()),
        system: Some("Be kind.".into()),
        sampling: Sampling::default(),
        created_at: now(),
    };
    let created = store.create_conversation(owner, &made, None);
    created.await.unwrap();
    let before = read(store, owner, made.id).await;
    later().await;
    let new = prompt(made.id, Parent::Head, "Hello\r\n 你好 🙂 ");
    let turn = begin(store, owner, &new).await;
    assert_eq!(turn.conversation_id, made.id);
    assert_eq!(turn.parent_id, Some(user_message(&new)));
    assert_eq!(turn.model.as_deref(), Some("default-model"));
    assert_eq!(turn.system.as_deref(), Some("Be kind."));
    let path = [PathMessage {
        role: Role::User,
        content: "Hello\r\n 你好 🙂 ".into(),
    }];
    assert_eq!(turn.path, path);

    let (after, messages) = store.conversation(owner, made.id).await.unwrap().unwrap();
    assert_eq!(after.head_id, Some(new.message_id));
    assert_eq!(after.version, before.version);
    assert!(after.updated_at > before.updated_at);
    assert_eq!(after.created_at, before.created_at);
    let [question, answer] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(
        (question.id, question.parent_id),
        (user_message(&new), None)
    );
    assert_eq!(question.role, Role::User);
    assert_eq!(question.content, path[0].content);
    assert_eq!(question.status, Progress::Ended(Outcome::Completed));
    assert_eq!((&question.model, question.generation_id), (&None, None));
    assert_eq!(
        (answer.id, answer.parent_id),
        (new.message_id, Some(question.id))
    );
    assert_eq!(answer.role, Role::Assistant);
    assert_eq!((&*answer.content, answer.status), ("", Progress::Running));
    assert_eq!(answer.model.as_deref(), Some("default-model"));
    assert_eq!(answer.generation_id, Some(new.generation_id));
    assert_eq!(answer.created_at, question.created_at);

    let stored = store.generation(owner, new.generation_id).await;
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.record.conversation_id, Some(made.id));
    assert_eq!(stored.record.message_id, Some(new.message_id));
    assert_eq!(stored.record.status, Progress::Running);
    assert_eq!(stored.record.seq, 0);
    assert_eq!(stored.message.id, new.message_id);

    end(store, &new, "Hi").await;
    let asked_for = NewTurn {
        model: Some("other-model".into()),
        ..prompt(made.id, Parent::Head, "again")
    };
    let turn = begin(store, owner, &asked_for).await;
    assert_eq!(turn.model.as_deref(), Some("other-model"));
    let stored = store.generation(owner, asked_for.generation_id).await;
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.message.model.as_deref(), Some("other-model"));
    assert_eq!(stored.record.model.as_deref(), Some("other-model"));
}

pub async fn the_first_prompt_gives_an_untitled_conversation_its_title(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "").await;
    let long = format!("\n  Über {} \nsecond line", "Wörter 🙂 ".repeat(20));
    exchange(store, owner, id, &long, "a").await;
    let titled = read(store, owner, id).await;
    assert_eq!(
        titled.title.chars().count(),
        59,
        "a space before the ellipsis is cut"
    );
    assert!(titled.title.starts_with("Über Wörter 🙂 ") && titled.title.ends_with('…'));
    assert_eq!(titled.version, 1);
    exchange(store, owner, id, "something else", "a").await;
    assert_eq!(read(store, owner, id).await.title, titled.title);
    let named = conversation(store, owner, "mine").await;
    exchange(store, owner, named, "hello", "a").await;
    assert_eq!(read(store, owner, named).await.title, "mine");
}

pub async fn a_title_that_nobody_gave_is_replaced_once_and_one_that_somebody_gave_never(
    db: &Scratch,
) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let asked = async |title: &str| {
        let id = conversation(store, owner, title).await;
        let turn = begin(store, owner, &prompt(id, Parent::Head, "Why tides?")).await;
        (id, turn.is_untitled)
    };
    let read = async |id| store.conversation_alone(owner, id).await.unwrap().unwrap();
    let (id, is_untitled) = asked("").await;
    assert!(is_untitled);
    let before = read(id).await;
    assert_eq!(before.title, "Why tides?");
    let stranger = user(store, "bob").await;
    assert!(!store.give_title(stranger, id, "Tides").await.unwrap());
    assert!(store.give_title(owner, id, "Gezeiten").await.unwrap());
    let after = read(id).await;
    assert_eq!(after.title, "Gezeiten");
    assert_eq!(
        (after.version, after.updated_at),
        (before.version, before.updated_at)
    );
    assert_eq!(
        list(store, owner, Some("gezeiten"), None, 10).await.len(),
        1
    );
    assert!(!store.give_title(owner, id, "Again").await.unwrap());

    let (named, is_untitled) = asked("Mine").await;
    assert!(!is_untitled);
    let (renamed, _) = asked("").await;
    let rename = ConversationChange {
        title: Some("Why tides?".into()),
        ..ConversationChange::default()
    };
    let changed = store.change_conversation(owner, renamed, &rename, None);
    assert!(matches!(changed.await.unwrap(), Changed::Done(_)));
    for id in [named, renamed] {
        let title = read(id).await.title;
        assert!(!store.give_title(owner, id, "Tides").await.unwrap());
        assert_eq!(read(id).await.title, title);
    }
    let (pinned, _) = asked("").await;
    let pin = ConversationChange {
        pinned: Some(true),
        ..ConversationChange::default()
    };
    store
        .change_conversation(owner, pinned, &pin, None)
        .await
        .unwrap();
    assert!(store.give_title(owner, pinned, "Tides").await.unwrap());
    assert_eq!(
        (read(pinned).await.title, read(pinned).await.version),
        ("Tides".into(), 2)
    );
}

pub async fn the_path_goes_from_the_root_without_empty_answers(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let one = exchange(store, owner, id, "q1", "a1").await;
    exchange(store, owner, id, "q2", "").await;
    exchange(store, owner, id, "  ", " ").await;
    let last = prompt(id, Parent::Head, "q4");
    let path = begin(store, owner, &last).await.path;
    let told = |path: &[PathMessage]| {
        let words = path
            .iter()
            .map(|m| format!("{}:{}", m.role.as_str(), m.content));
        words.collect::<Vec<_>>()
    };
    let expected = [
        "user:q1",
        "assistant:a1",
        "user:q2",
        "user:  ",
        "assistant: ",
        "user:q4",
    ];
    assert_eq!(told(&path), expected);

    // A branch has its own path; a new beginning has none above it.
    let branch = prompt(id, Parent::Message(one.message_id), "q2b");
    let path = begin(store, owner, &branch).await.path;
    assert_eq!(told(&path), ["user:q1", "assistant:a1", "user:q2b"]);
    let root = prompt(id, Parent::Root, "q1b");
    let turn = begin(store, owner, &root).await;
    assert_eq!(told(&turn.path), ["user:q1b"]);
    let messages = messages(store, owner, id).await;
    let question = messages
        .iter()
        .find(|m| Some(m.id) == turn.parent_id)
        .unwrap();
    assert_eq!(question.parent_id, None);
    // In order of creation, whatever their ids.
    let contents: Vec<&str> = messages.iter().map(|m| &*m.content).collect();
    let order = [
        "q1", "a1", "q2", "", "  ", " ", "q4", "", "q2b", "", "q1b", "",
    ];
    assert_eq!(contents, order);
}

pub async fn a_prompt_is_refused_where_it_cannot_stand_and_stores_nothing(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "").await;
    let elsewhere = conversation(store, owner, "t").await;
    let foreign = exchange(store, owner, elsewhere, "q", "a").await;
    let running = prompt(id, Parent::Head, "q");
    begin(store, owner, &running).await;
    let before = format!("{:?}", store.conversation(owner, id).await.unwrap());
    let below = |parent| prompt(id, parent, "x");
    let regenerate = |message_id| turn(TurnOf::Regenerate { message_id });
    let streaming = TurnRefused::Streaming(running.generation_id);
    for (new, expected) in [
        (
            prompt(ConversationId::new(), Parent::Head, "x"),
            TurnRefused::NotFound,
        ),
        (regenerate(MessageId::new()), TurnRefused::NotFound),
        (
            below(Parent::Message(MessageId::new())),
            TurnRefused::UnknownParent,
        ),
        (
            below(Parent::Message(foreign.message_id)),
            TurnRefused::UnknownParent,
        ),
        (
            below(Parent::Message(user_message(&running))),
            TurnRefused::NotAnAnswer,
        ),
        (regenerate(user_message(&running)), TurnRefused::NotAnAnswer),
        (
            below(Parent::Head),
            TurnRefused::Streaming(running.generation_id),
        ),
        (
            below(Parent::Message(running.message_id)),
            TurnRefused::Streaming(running.generation_id),
        ),
        (
            regenerate(running.message_id),
            TurnRefused::Streaming(running.generation_id),
        ),
    ] {
        assert_eq!(refused(store, owner, &new).await, expected);
        let generation = store.generation(owner, new.generation_id).await;
        assert!(generation.unwrap().is_none());
    }
    let after = format!("{:?}", store.conversation(owner, id).await.unwrap());
    assert_eq!(before, after);

    // Neither does a refusal use up the key.
    let key = once("k", 1);
    let new = below(Parent::Head);
    let kept = receipt(&new.generation_id);
    let first = store.begin_turn(owner, &new, Some((&key, &kept))).await;
    assert_eq!(first.unwrap().unwrap_err(), streaming);
    assert!(store.receipt(owner, &key).await.unwrap().is_none());
    end(store, &running, "a").await;
    let second = store.begin_turn(owner, &new, Some((&key, &kept))).await;
    assert!(matches!(second, Ok(Ok(Effect::Done(_)))), "{second:?}");
    let reused = store
        .begin_turn(owner, &new, Some((&once("k", 2), &kept)))
        .await;
    assert!(matches!(reused, Ok(Ok(Effect::KeyReused))));
}

pub async fn twenty_twins_have_one_effect(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let key = once("k", 1);
    let twins = (0..20).map(|n| {
        let store = if n % 2 == 0 { store } else { &*other };
        let key = &key;
        async move {
            let new = prompt(id, Parent::Head, "q");
            let kept = receipt(&new.generation_id);
            let effect = store.begin_turn(owner, &new, Some((key, &kept))).await;
            (new, kept, effect.unwrap().unwrap())
        }
    });
    let mut done = Vec::new();
    let mut before = Vec::new();
    for (new, kept, effect) in join_all(twins).await {
        match effect {
            Effect::Done(_) => done.push((new, kept)),
            Effect::Before(kept) => before.push(kept),
            Effect::KeyReused => panic!("the same was asked"),
        }
    }
    assert_eq!((done.len(), before.len()), (1, 19));
    assert!(before.iter().all(|kept| *kept == done[0].1));
    let messages = messages(store, owner, id).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1].id, done[0].0.message_id);
}

pub async fn of_twenty_prompts_below_one_head_one_begins(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    for round in 1..=3 {
        let prompts = (0..20).map(|n| {
            let store = if n % 2 == 0 { store } else { &*other };
            async move {
                let new = prompt(id, Parent::Head, "q");
                let begun = store.begin_turn(owner, &new, None).await;
                (new, begun.unwrap())
            }
        });
        let mut begun = Vec::new();
        let mut in_the_way = HashSet::new();
        for (new, outcome) in join_all(prompts).await {
            match outcome {
                Ok(Effect::Done(_)) => begun.push(new),
                Err(TurnRefused::Streaming(id)) => drop(in_the_way.insert(id)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(begun.len(), 1);
        assert_eq!(in_the_way, HashSet::from([begun[0].generation_id]));
        assert_eq!(messages(store, owner, id).await.len(), 2 * round);
        end(store, &begun[0], "a").await;
    }
}

pub async fn another_answer_is_a_sibling_and_becomes_the_head(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "").await;
    let first = exchange(store, owner, id, "q1", "a1").await;
    exchange(store, owner, id, "q2", "a2").await;
    let again = turn(TurnOf::Regenerate {
        message_id: first.message_id,
    });
    let key = once("k", 1);
    let kept = receipt(&again.generation_id);
    let begun = store.begin_turn(owner, &again, Some((&key, &kept))).await;
    let Ok(Ok(Effect::Done(turn))) = begun else {
        panic!("{begun:?}")
    };
    assert_eq!(turn.conversation_id, id);
    assert_eq!(turn.parent_id, Some(user_message(&first)));
    let contents: Vec<_> = turn.path.iter().map(|m| &*m.content).collect();
    assert_eq!(contents, ["q1"]);
    assert_eq!(read(store, owner, id).await.head_id, Some(again.message_id));
    let stored = messages(store, owner, id).await;
    assert_eq!(stored.len(), 5);
    assert_eq!(stored[4].parent_id, stored[1].parent_id);
    // The first answer is finished: a third one may be asked for while the second still streams.
    let third = crate::scratch::turn(TurnOf::Regenerate {
        message_id: first.message_id,
    });
    begin(store, owner, &third).await;
    end(store, &again, "a1b").await;
    end(store, &third, "a1c").await;
    let path = begin(store, owner, &prompt(id, Parent::Head, "q3"))
        .await
        .path;
    let contents: Vec<_> = path.iter().map(|m| &*m.content).collect();
    assert_eq!(contents, ["q1", "a1c", "q3"]);
}

pub async fn a_generation_ends_once_with_everything_known(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let begun = read(store, owner, id).await;
    later().await;
    let call = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{\"x\":1}"}, "big": 1e300});
    let problem = Problem {
        retry_after: Some(7),
        generation_id: Some(new.generation_id),
        ..Problem::new(
            502,
            "upstream",
            "The model server failed",
            "it said \"no\"\n",
        )
    };
    let full = |n: u64| Ending {
        outcome: Outcome::Truncated,
        content: format!("answer {n} é🙂"),
        reasoning: Some("because".into()),
        tool_calls: Some(vec![call.as_object().unwrap().clone()]),
        model: Some("said-by-upstream".into()),
        finish_reason: Some("length".into()),
        usage: Some(Usage {
            prompt_tokens: 3,
            completion_tokens: u64::from(u32::MAX) + n,
            estimated: true,
        }),
        timings: Timings {
            first_token_ms: None,
            thinking_ms: Some(567),
            total_ms: 1234,
        },
        problem: Some(problem.clone()),
        last_seq: 40 + n,
        leaves_message: false,
    };
    let ends = (0..20).map(|n| async move { (n, full(n)) });
    let ends = ends.map(|made| async {
        let (n, ending) = made.await;
        let ended = store.end_generation(new.generation_id, &ending, &[]).await;
        ended.unwrap().then_some((n, ending))
    });
    let mut ended: Vec<_> = join_all(ends).await.into_iter().flatten().collect();
    assert_eq!(ended.len(), 1);
    let (n, told) = ended.remove(0);

    let stored = store.generation(owner, new.generation_id).await;
    let StoredGeneration { record, message } = stored.unwrap().unwrap();
    assert_eq!(record.status, Progress::Ended(Outcome::Truncated));
    assert_eq!(record.seq, 40 + n);
    assert_eq!(record.model, told.model);
    assert_eq!(record.finish_reason, told.finish_reason);
    assert_eq!(record.usage, told.usage);
    assert_eq!(record.timings, Some(told.timings));
    assert_eq!(record.problem, told.problem);
    assert_eq!(message.status, Progress::Ended(Outcome::Truncated));
    assert_eq!(message.content, told.content);
    assert_eq!(message.reasoning, told.reasoning);
    assert_eq!(message.tool_calls, told.tool_calls);
    assert_eq!(message.model, told.model);
    assert_eq!(message.finish_reason, told.finish_reason);
    assert_eq!(message.usage, told.usage);
    assert_eq!(message.timings, Some(told.timings));
    assert_eq!(message.problem, told.problem);
    assert_eq!(message.generation_id, Some(new.generation_id));
    let (after, messages) = store.conversation(owner, id).await.unwrap().unwrap();
    assert!(after.updated_at > begun.updated_at);
    assert_eq!(after.version, begun.version);
    assert_eq!(format!("{:?}", messages[1]), format!("{message:?}"));

    // What the upstream did not say stays as it was asked.
    let asked = NewTurn {
        model: Some("asked".into()),
        ..prompt(id, Parent::Head, "q")
    };
    begin(store, owner, &asked).await;
    end(store, &asked, "a").await;
    let stored = store.generation(owner, asked.generation_id).await;
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.record.model.as_deref(), Some("asked"));
    assert_eq!(stored.message.model.as_deref(), Some("asked"));
    let unknown = store
        .end_generation(GenerationId::new(), &ending("x"), &[])
        .await;
    assert!(!unknown.unwrap());
}

pub async fn what_postgres_refuses_is_mended(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let call = json!({"a\0b": ["x\0", {"y": "\0"}]});
    let bad = Ending {
        content: "a\0b".into(),
        reasoning: Some("\0".into()),
        finish_reason: Some("st\0p".into()),
        model: Some("m\0".into()),
        tool_calls: Some(vec![call.as_object().unwrap().clone()]),
        problem: Some(Problem::new(502, "upstream", "t", "nul: \0.")),
        ..ending("")
    };
    let ended = store.end_generation(new.generation_id, &bad, &[]).await;
    assert!(ended.unwrap());
    let stored = store.generation(owner, new.generation_id).await;
    let message = stored.unwrap().unwrap().message;
    assert_eq!(message.content, "a\u{fffd}b");
    assert_eq!(message.reasoning.as_deref(), Some("\u{fffd}"));
    assert_eq!(message.finish_reason.as_deref(), Some("st\u{fffd}p"));
    assert_eq!(message.model.as_deref(), Some("m\u{fffd}"));
    assert_eq!(message.problem.unwrap().detail, "nul: \u{fffd}.");
    let mended = json!({"a\u{fffd}b": ["x\u{fffd}", {"y": "\u{fffd}"}]});
    assert_eq!(json!(message.tool_calls.unwrap()[0]), mended);

    let next = prompt(id, Parent::Head, "q");
    let kept = Receipt {
        location: "/x".into(),
        body: json!({"title": "a\0b"}),
    };
    let begun = store
        .begin_turn(owner, &next, Some((&once("k", 1), &kept)))
        .await;
    assert!(matches!(begun, Ok(Ok(Effect::Done(_)))));
    let recovered = store.recover(NODE, next.generation_id, &bad).await;
    assert!(recovered.unwrap());
}

pub async fn a_megabyte_comes_back_whole(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let mut long = "Zeile 你好 🙂 %_\\'\"\n".repeat(1 << 16);
    long.push_str("ÄNDE");
    assert!(long.len() > 1 << 20);
    exchange(store, owner, id, &long, &long).await;
    let stored = messages(store, owner, id).await;
    assert!(stored.iter().all(|message| message.content == long));
    let hit = list(store, owner, Some("ände"), None, 9).await;
    assert_eq!(hit.len(), 1);
    let snippet = hit[0].snippet.as_deref().unwrap();
    assert!(
        snippet.starts_with('…') && snippet.ends_with("ÄNDE"),
        "{snippet}"
    );
}

pub async fn a_dropped_call_leaves_all_or_nothing(db: &Scratch) {
    let one_connection = StoreOptions {
        connections: 1,
        ..StoreOptions::default()
    };
    let narrow = open(&db.url, &one_connection).await.unwrap();
    let owner = user(&*db.store, "ann").await;
    let id = conversation(&*db.store, owner, "t").await;
    let mut whole = 0;
    for polls in 1.. {
        let new = prompt(id, Parent::Root, "q");
        let key = once(&format!("k{polls}"), 1);
        let kept = receipt(&new.generation_id);
        let call = narrow.begin_turn(owner, &new, Some((&key, &kept)));
        whole += u32::from(polled(call, polls).await);
        // The connection is fit for the next call, whose effect others see.
        let change = ConversationChange {
            title: Some(format!("title {polls}")),
            ..Default::default()
        };
        let changed = narrow.change_conversation(owner, id, &change, None).await;
        assert!(matches!(changed, Ok(Changed::Done(_))), "{changed:?}");
        let title = read(&*db.store, owner, id).await.title;
        assert_eq!(title, format!("title {polls}"), "after {polls} polls");
        // All or nothing, so that asking again makes it exactly once.
        let again = narrow.begin_turn(owner, &new, Some((&key, &kept))).await;
        assert!(
            matches!(again, Ok(Ok(Effect::Done(_) | Effect::Before(_)))),
            "{again:?}"
        );
        let stored = messages(&*db.store, owner, id).await;
        assert_eq!(stored.len(), 2 * polls, "after {polls} polls");
        let stored = db.store.generation(owner, new.generation_id).await;
        assert!(stored.unwrap().is_some());
        if whole == 3 {
            break;
        }
    }
}

/// Polls at most so many times, then drops. True when it was done by then.
pub async fn polled(call: impl Future, polls: usize) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        call.as_mut().poll(context).map(|_| true)
    })
    .await
}

pub async fn another_users_turns_are_not_there(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let stranger = user(store, "bob").await;
    let id = conversation(store, owner, "t").await;
    let theirs = conversation(store, stranger, "t").await;
    let new = exchange(store, owner, id, "q", "a").await;
    let seen = store.generation(stranger, new.generation_id).await;
    assert!(seen.unwrap().is_none());
    let prompts = [
        (prompt(id, Parent::Head, "x"), TurnRefused::NotFound),
        (
            turn(TurnOf::Regenerate {
                message_id: new.message_id,
            }),
            TurnRefused::NotFound,
        ),
        (
            prompt(theirs, Parent::Message(new.message_id), "x"),
            TurnRefused::UnknownParent,
        ),
    ];
    for (new, expected) in prompts {
        assert_eq!(refused(store, stranger, &new).await, expected);
    }
    assert_eq!(messages(store, owner, id).await.len(), 2);
}
