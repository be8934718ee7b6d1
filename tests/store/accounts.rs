//! Users and what proves who they are.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::join_all;
use time::Duration;

pub async fn the_first_start_makes_one_operator_however_many_processes_start(db: &Scratch) {
    let other = db.open_again().await;
    // With all connections open, the calls below meet.
    join_all((0..20).map(|n| {
        if n % 2 == 0 {
            db.store.users()
        } else {
            other.users()
        }
    }))
    .await;
    let starts = (0..20).map(|n| {
        let store = if n % 2 == 0 { &db.store } else { &other };
        // Names differ, so that no unique name does the work.
        let name = format!("owner{n}");
        async move { store.ensure_owner(&name).await.unwrap().id }
    });
    let owners = join_all(starts).await;
    let users = db.store.users().await.unwrap();
    assert_eq!(users.len(), 1);
    assert!(users[0].operator && !users[0].disabled);
    assert!(owners.iter().all(|id| *id == users[0].id));
    let again = db.store.ensure_owner("somebody else").await.unwrap();
    assert_eq!(again.id, users[0].id);
}

pub async fn nobody_is_made_an_operator_because_of_a_name(db: &Scratch) {
    user(&*db.store, "admin").await;
    let refused = db.store.ensure_owner("admin").await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let owner = db.store.ensure_owner("owner").await.unwrap();
    assert!(owner.operator);
    let second = db.store.add_user("second", true).await.unwrap().unwrap();
    let disabled = db.store.set_user_disabled(owner.id, true);
    assert!(disabled.await.unwrap());
    assert_eq!(db.store.ensure_owner("x").await.unwrap().id, second.id);
}

pub async fn a_name_is_taken_once(db: &Scratch) {
    let made = db.store.add_user("Zoë", true).await.unwrap().unwrap();
    assert!(made.operator && !made.disabled);
    assert!(db.store.add_user("Zoë", false).await.unwrap().is_none());
    let found = db.store.user_by_name("Zoë").await.unwrap().unwrap();
    assert_eq!(found.id, made.id);
    assert_eq!(found.created_at, made.created_at);
    assert!(db.store.user_by_name("zoë").await.unwrap().is_none());
    let nobody = db.store.set_user_disabled(UserId::new(), true);
    assert!(!nobody.await.unwrap());
}

pub async fn a_key_works_until_it_is_revoked_or_its_user_disabled(db: &Scratch) {
    let store = &db.store;
    let owner = user(&**store, "ann").await;
    let first = store.add_key(owner, "laptop", [1; 32]).await.unwrap();
    let second = store.add_key(owner, "phone", [2; 32]).await.unwrap();
    let found = store.user_by_key([1; 32]).await.unwrap().unwrap();
    assert_eq!((found.0.id, found.1), (owner, first.id));
    assert!(store.user_by_key([3; 32]).await.unwrap().is_none());

    assert!(store.revoke_key(first.id).await.unwrap());
    assert!(!store.revoke_key(KeyId::new()).await.unwrap());
    assert!(store.user_by_key([1; 32]).await.unwrap().is_none());
    let keys = store.keys().await.unwrap();
    let told: Vec<_> = keys.iter().map(|k| (k.id, &*k.name, k.revoked)).collect();
    assert_eq!(
        told,
        [(first.id, "laptop", true), (second.id, "phone", false)]
    );

    assert!(store.set_user_disabled(owner, true).await.unwrap());
    assert!(store.user_by_key([2; 32]).await.unwrap().is_none());
    assert!(store.set_user_disabled(owner, false).await.unwrap());
    assert!(store.user_by_key([2; 32]).await.unwrap().is_some());
}

pub async fn a_login_link_works_once(db: &Scratch) {
    let owner = user(&*db.store, "ann").await;
    let expires = now() + Duration::minutes(15);
    let added = db.store.add_login_link(owner, [7; 32], expires).await;
    added.unwrap();
    let redeems = (0..20).map(|_| db.store.redeem_login_link([7; 32], now()));
    let redeemed: Vec<User> = join_all(redeems)
        .await
        .into_iter()
        .filter_map(Result::unwrap)
        .collect();
    assert_eq!(redeemed.len(), 1);
    assert_eq!(redeemed[0].id, owner);
}

pub async fn a_login_link_does_not_outlive_its_time_or_its_user(db: &Scratch) {
    let store = &db.store;
    let owner = user(&**store, "ann").await;
    let expires = now() + Duration::minutes(15);
    store.add_login_link(owner, [1; 32], expires).await.unwrap();
    let late = store.redeem_login_link([1; 32], expires).await;
    assert!(late.unwrap().is_none());

    store.add_login_link(owner, [2; 32], expires).await.unwrap();
    store.set_user_disabled(owner, true).await.unwrap();
    let disabled = store.redeem_login_link([2; 32], now()).await;
    assert!(disabled.unwrap().is_none());
    let unknown = store.redeem_login_link([9; 32], now()).await;
    assert!(unknown.unwrap().is_none());
}

pub async fn a_login_lasts_until_logout_expiry_or_its_user_is_disabled(db: &Scratch) {
    let store = &db.store;
    let owner = user(&**store, "ann").await;
    let expires = now() + Duration::days(1);
    let old = store.add_login(owner, None, [1; 32], now() - Duration::seconds(1));
    old.await.unwrap();
    let login = store.add_login(owner, None, [2; 32], expires);
    let id = login.await.unwrap();
    let login = async |hash, at| {
        let found = store.user_by_login([hash; 32], at).await.unwrap();
        found.map(|(user, login)| (user.id, login))
    };
    assert_eq!(login(1, now()).await, None);
    // Gone, not only expired: an earlier clock does not bring it back.
    assert_eq!(login(1, now() - Duration::days(1)).await, None);
    assert_eq!(login(2, now()).await, Some((owner, id)));
    assert_eq!(login(2, expires).await, None);
    store.set_user_disabled(owner, true).await.unwrap();
    assert_eq!(login(2, now()).await, None);
    store.set_user_disabled(owner, false).await.unwrap();
    assert_eq!(login(2, now()).await, Some((owner, id)));
    store.end_login(id).await.unwrap();
    assert_eq!(login(2, now()).await, None);
    store.end_login(id).await.unwrap();
}

pub async fn a_login_by_a_key_dies_with_the_key(db: &Scratch) {
    let store = &db.store;
    let owner = user(&**store, "ann").await;
    let expires = now() + Duration::days(1);
    let key = store.add_key(owner, "laptop", [1; 32]).await.unwrap().id;
    let other = store.add_key(owner, "phone", [2; 32]).await.unwrap().id;
    for (by, hash) in [(Some(key), 3), (Some(other), 4), (None, 5)] {
        let login = store.add_login(owner, by, [hash; 32], expires);
        login.await.unwrap();
    }
    let works = async |hash| {
        let found = store.user_by_login([hash; 32], now()).await.unwrap();
        found.is_some_and(|(user, _)| user.id == owner)
    };
    assert!(works(3).await && works(4).await && works(5).await);
    assert!(store.revoke_key(key).await.unwrap());
    assert!(!works(3).await);
    assert!(works(4).await, "another key's");
    assert!(works(5).await, "a link's");
}
