//! What generations cost, by user, key and day.

use crate::scratch::*;
use continuo::model::*;
use time::{Date, macros::date};

const DAY: Date = date!(2026 - 05 - 01);

fn spending(user: UserId, key: Option<KeyId>, day: Date, tokens: u64) -> Spending {
    Spending {
        generation: GenerationId::new(),
        user,
        key,
        day,
        usage: Usage {
            prompt_tokens: tokens,
            completion_tokens: 1,
            estimated: false,
        },
    }
}

pub async fn what_was_spent_is_known_by_user_key_and_day_and_counts_once(db: &Scratch) {
    let store = &*db.store;
    let (ann, bob, key) = (UserId::new(), UserId::new(), KeyId::new());
    let spent = async |day| {
        let spenders = [key.0, bob.0, ann.0, UserId::new().0];
        let spent = store.tokens_spent(day, &spenders).await.unwrap();
        assert!(
            spent.iter().map(|(id, _)| *id).eq(spenders),
            "in this order"
        );
        spent
            .into_iter()
            .map(|(_, tokens)| tokens)
            .collect::<Vec<_>>()
    };
    assert_eq!(spent(DAY).await, [0, 0, 0, 0]);
    assert!(store.tokens_spent(DAY, &[]).await.unwrap().is_empty());
    let tomorrow = DAY.next_day().unwrap();
    let all = [
        spending(ann, None, DAY, 10),
        spending(ann, Some(key), DAY, 20),
        spending(bob, None, DAY, 40),
        spending(ann, Some(key), tomorrow, 80),
    ];
    store.add_spendings(&all[..2]).await.unwrap();
    store.add_spendings(&all).await.unwrap();
    assert_eq!(spent(DAY).await, [21, 41, 32, 0]);
    assert_eq!(spent(tomorrow).await, [81, 0, 81, 0]);
    let absurd = Usage {
        prompt_tokens: u64::MAX,
        completion_tokens: u64::MAX,
        estimated: true,
    };
    let absurd = Spending {
        usage: absurd,
        ..spending(bob, None, tomorrow, 0)
    };
    store.add_spendings(&[absurd]).await.unwrap();
    assert!(spent(tomorrow).await[1] > 1 << 32);
    assert_eq!(store.forget_spendings(tomorrow).await.unwrap(), 4);
    assert_eq!(spent(DAY).await, [0, 0, 0, 0]);
    assert_eq!(spent(tomorrow).await[0], 81);
}
