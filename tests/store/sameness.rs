//! The engines differ in nothing that a caller sees.

use crate::scratch::*;
use continuo::{model::*, store::*};
use serde_json::{Value, json};

/// The ids of one story, the same wherever it is told.
struct Cast {
    conversations: [ConversationId; 3],
    turns: Vec<NewTurn>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn both_engines_tell_the_same_story() {
    let conversations = [(); 3].map(|()| ConversationId::new());
    let first = prompt(
        conversations[0],
        Parent::Head,
        "Ünïcode 你好 🙂\n\ttab \\ '\" % _",
    );
    let turns = vec![
        turn(TurnOf::Regenerate {
            message_id: first.message_id,
        }),
        prompt(conversations[0], Parent::Message(first.message_id), "below"),
        prompt(conversations[0], Parent::Head, "refused"),
        prompt(conversations[1], Parent::Root, "  \n  spaces  \n"),
    ];
    let cast = Cast {
        conversations,
        turns: std::iter::once(first).chain(turns).collect(),
    };
    let (mut postgres, mut sqlite) = (Vec::new(), Vec::new());
    on_postgres(async |db| postgres = tell(&*db.store, &cast).await).await;
    on_sqlite(async |db| sqlite = tell(&*db.store, &cast).await).await;
    assert!(postgres.len() > 10);
    for (postgres, sqlite) in postgres.iter().zip(&sqlite) {
        assert_eq!(postgres, sqlite);
    }
    assert_eq!(postgres.len(), sqlite.len());
}

async fn tell(store: &dyn Store, cast: &Cast) -> Vec<String> {
    let mut told = Vec::new();
    let owner = user(store, "ann").await;
    for (n, id) in cast.conversations.into_iter().enumerate() {
        let new = NewConversation {
            id,
            title: ["", "b B ß ẞ", "C\u{301}é"][n].into(),
            model: (n == 1).then(|| "m".into()),
            system: (n == 2).then(|| "s\r\n".into()),
            sampling: Sampling {
                temperature: (n == 2).then_some(0.7),
                stop: (n == 2).then(|| vec!["\n 🙂".into()]),
                ..Sampling::default()
            },
            created_at: now(),
        };
        told.push(format!(
            "{:?}",
            store.create_conversation(owner, &new, None).await
        ));
    }
    for (n, new) in cast.turns.iter().enumerate() {
        later().await;
        let key = once(&format!("k{}", n / 2), 1);
        let kept = receipt(&new.generation_id);
        let begun = store.begin_turn(owner, new, Some((&key, &kept))).await;
        told.push(format!("{begun:?}"));
        let begun = store.begin_turn(owner, new, None).await;
        told.push(format!("{:?}", begun.is_ok()));
        let call = json!({"b": 1, "a": [1.5, -0.25, 1e21, u64::MAX, i64::MIN, null, true], "": {"z": "", "y": "é"}});
        let full = Ending {
            tool_calls: Some(vec![call.as_object().unwrap().clone()]),
            ..ending("Ärger")
        };
        if n != 1 {
            let ended = store.end_generation(new.generation_id, &full, &[]).await;
            told.push(format!("{ended:?}"));
        }
        let stored = store.generation(owner, new.generation_id).await;
        told.push(format!("{:?}", stored.map_err(|error| error.to_string())));
    }
    for id in cast.conversations {
        told.push(format!("{:?}", store.conversation(owner, id).await));
        told.push(format!("{:?}", store.delete_conversation(owner, id).await));
        for text in [
            None,
            Some("ärger ünï"),
            Some("ß"),
            Some("c\u{301}"),
            Some("B b"),
        ] {
            let rows = list(store, owner, text, None, 10).await;
            told.push(serde_json::to_string(&rows).unwrap());
        }
    }
    told.iter().map(|line| without_times(line)).collect()
}

/// Times differ from telling to telling; their order is told by the order of the lists.
fn without_times(line: &str) -> String {
    if let Ok(Value::Array(mut rows)) = serde_json::from_str(line) {
        for row in &mut rows {
            row["created_at"].take();
            row["updated_at"].take();
        }
        return Value::Array(rows).to_string();
    }
    line.split("_at: ")
        .enumerate()
        .map(|(n, part)| match part.find("+00:00:00") {
            Some(end) if n > 0 => &part[end..],
            _ => part,
        })
        .collect()
}
