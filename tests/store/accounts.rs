//! Users and what proves who they are.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, migrate::Migrator};
use time::{Duration, OffsetDateTime};

const IDLE: std::time::Duration = std::time::Duration::from_hours(7 * 24);
const NO_CHANGE: UserChange = UserChange {
    disabled: None,
    operator: None,
    limits: None,
};

fn at(now: OffsetDateTime) -> When {
    When { now, idle: IDLE }
}

fn new_key(user: UserId, hash: u8) -> NewKey<'static> {
    NewKey {
        id: KeyId::new(),
        user,
        name: "laptop",
        prefix: "continuo-abc",
        hash: [hash; 32].into(),
        limits: Limits::default(),
        expires_at: None,
    }
}

fn new_login(user: UserId, key: Option<KeyId>, hash: u8) -> NewLogin<'static> {
    NewLogin {
        user,
        key,
        hash: [hash; 32].into(),
        expires_at: now() + Duration::days(30),
        user_agent: Some("Browser/1"),
        address: Some("192.0.2.7"),
    }
}

async fn disable(store: &dyn Store, id: UserId, disabled: bool) -> UserChanged {
    let change = UserChange {
        disabled: Some(disabled),
        ..NO_CHANGE
    };
    store.change_user(id, change).await.unwrap()
}

async fn make_operator(store: &dyn Store, id: UserId, operator: bool) -> UserChanged {
    let change = UserChange {
        operator: Some(operator),
        ..NO_CHANGE
    };
    store.change_user(id, change).await.unwrap()
}

async fn by_key(store: &dyn Store, hash: u8, when: When) -> Option<(UserId, Credential)> {
    let found = store.user_by_key([hash; 32].into(), when).await.unwrap();
    found.map(|vouched| (vouched.user.id, vouched.credential))
}

async fn by_login(store: &dyn Store, hash: u8, when: When) -> Option<(UserId, Credential)> {
    let found = store.user_by_login([hash; 32].into(), when).await.unwrap();
    found.map(|vouched| (vouched.user.id, vouched.credential))
}

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
    let disabled = disable(&*db.store, owner.id, true).await;
    assert!(matches!(disabled, UserChanged::Done(_)));
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
    assert_eq!(db.store.user(made.id).await.unwrap(), Some(made));
    assert_eq!(db.store.user(UserId::new()).await.unwrap(), None);
    let nobody = disable(&*db.store, UserId::new(), true).await;
    assert_eq!(nobody, UserChanged::NotFound);
}

pub async fn a_key_is_added_once_for_an_idempotency_key_of_whoever_asks(db: &Scratch) {
    let store = &*db.store;
    let (owner, other) = (user(store, "ann").await, user(store, "bob").await);
    let kept = receipt(&"there");
    let add = async |hash: u8, by: UserId, fingerprint: u8| {
        let (new, once) = (new_key(owner, hash), once("k", fingerprint));
        let once = Some((by, &once, &kept));
        store.add_key_within(&new, 100, once).await.unwrap()
    };
    let twins = join_all((1..=10).map(|hash| add(hash, other, 1))).await;
    let made: Vec<_> = twins
        .iter()
        .filter(|twin| matches!(twin, Effect::Done(_)))
        .collect();
    let told = twins
        .iter()
        .filter(|twin| matches!(twin, Effect::Before(before) if *before == kept));
    assert_eq!((made.len(), told.count()), (1, 9));
    assert!(matches!(add(11, other, 2).await, Effect::KeyReused));
    assert!(
        matches!(add(12, owner, 2).await, Effect::Done(_)),
        "by somebody else"
    );
    let keys = store.keys(Some(owner)).await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(store.keys(Some(other)).await.unwrap().is_empty());
}

pub async fn of_many_keys_added_at_once_no_more_are_there_than_a_user_may_have(db: &Scratch) {
    let store = &*db.store;
    let kept = receipt(&"there");
    store
        .add_key(&new_key(user(store, "bob").await, 255))
        .await
        .unwrap();
    // Of several: not every time two of them meet.
    for round in 0..8 {
        let owner = user(store, &format!("ann {round}")).await;
        let hash = |key: u8| round * 16 + key;
        let revoked = store.add_key(&new_key(owner, hash(1))).await.unwrap().id;
        assert!(store.revoke_key(revoked, None).await.unwrap());
        let over = NewKey {
            expires_at: Some(now() - Duration::days(1)),
            ..new_key(owner, hash(2))
        };
        store.add_key(&over).await.unwrap();
        let add = async |key: u8| {
            let (new, name) = (new_key(owner, hash(key)), format!("k{key}"));
            let once = once(&name, 1);
            let once = key.is_multiple_of(2).then_some((owner, &once, &kept));
            let added = store.add_key_within(&new, 3, once).await.unwrap();
            matches!(added, Effect::Done(Some(_)))
        };
        let added = join_all((3..15).map(add)).await;
        assert_eq!(added.iter().filter(|added| **added).count(), 3);
        let keys = store.keys(Some(owner)).await.unwrap();
        assert_eq!(keys.len(), 5);
        // One that was too many may be asked for again under its key.
        let holds = |key: &&Key| key.revoked_at.is_none() && key.expires_at.is_none();
        let first = keys.iter().find(holds).unwrap().id;
        store.revoke_key(first, None).await.unwrap();
        let mut all = (3..15_u8).zip(added);
        let refused = all.find(|(key, added)| u8::is_multiple_of(*key, 2) && !added);
        assert!(add(refused.unwrap().0).await);
    }
}

pub async fn a_key_works_until_it_is_revoked_expires_or_its_user_is_disabled(db: &Scratch) {
    let store = &*db.store;
    let (owner, other) = (user(store, "ann").await, user(store, "bob").await);
    let first = store.add_key(&new_key(owner, 1)).await.unwrap();
    let expires = now() + Duration::days(1);
    let expiring = NewKey {
        name: "phone",
        prefix: "continuo-xyz",
        expires_at: Some(expires),
        ..new_key(owner, 2)
    };
    let second = store.add_key(&expiring).await.unwrap();
    store.add_key(&new_key(other, 3)).await.unwrap();
    let found = by_key(store, 1, at(now())).await;
    assert_eq!(found, Some((owner, Credential::Key(first.id))));
    assert_eq!(by_key(store, 9, at(now())).await, None);
    assert_eq!((&*second.name, &*second.prefix), ("phone", "continuo-xyz"));
    assert_eq!(second.expires_at, Some(expires));
    let vouched = store
        .user_by_key([2; 32].into(), at(now()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (vouched.key, vouched.expires_at),
        (Some(second.id), Some(expires))
    );
    assert!(
        by_key(store, 2, at(expires - Duration::milliseconds(1)))
            .await
            .is_some()
    );
    assert_eq!(by_key(store, 2, at(expires)).await, None);

    assert!(
        !store.revoke_key(first.id, Some(other)).await.unwrap(),
        "another's"
    );
    assert!(by_key(store, 1, at(now())).await.is_some());
    assert!(store.revoke_key(first.id, Some(owner)).await.unwrap());
    assert!(!store.revoke_key(KeyId::new(), None).await.unwrap());
    assert_eq!(by_key(store, 1, at(now())).await, None);
    let keys = store.keys(Some(owner)).await.unwrap();
    let revoked = keys[0].revoked_at;
    assert!(revoked.is_some());
    later().await;
    assert!(store.revoke_key(first.id, None).await.unwrap());
    let keys = store.keys(Some(owner)).await.unwrap();
    let told: Vec<_> = keys.iter().map(|k| (k.id, k.revoked_at)).collect();
    assert_eq!(told, [(first.id, revoked), (second.id, None)]);
    assert_eq!(store.keys(None).await.unwrap().len(), 3);

    disable(store, owner, true).await;
    assert_eq!(by_key(store, 2, at(now())).await, None);
    disable(store, owner, false).await;
    assert!(by_key(store, 2, at(now())).await.is_some());
}

pub async fn a_login_link_works_once(db: &Scratch) {
    let owner = user(&*db.store, "ann").await;
    let expires = now() + Duration::minutes(15);
    let added = db
        .store
        .add_login_link(owner, [7; 32].into(), expires)
        .await;
    added.unwrap();
    let redeems = (0..20).map(|_| db.store.redeem_login_link([7; 32].into(), now()));
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
    store
        .add_login_link(owner, [1; 32].into(), expires)
        .await
        .unwrap();
    let late = store.redeem_login_link([1; 32].into(), expires).await;
    assert!(late.unwrap().is_none());

    store
        .add_login_link(owner, [2; 32].into(), expires)
        .await
        .unwrap();
    disable(&**store, owner, true).await;
    let disabled = store.redeem_login_link([2; 32].into(), now()).await;
    assert!(disabled.unwrap().is_none());
    let unknown = store.redeem_login_link([9; 32].into(), now()).await;
    assert!(unknown.unwrap().is_none());
}

pub async fn a_login_lasts_until_logout_expiry_or_its_user_is_disabled(db: &Scratch) {
    let store = &*db.store;
    let (owner, other) = (user(store, "ann").await, user(store, "bob").await);
    let expires = now() + Duration::days(1);
    let old = NewLogin {
        expires_at: now() - Duration::seconds(1),
        ..new_login(owner, None, 1)
    };
    store.add_login(&old, at(now())).await.unwrap();
    let new = NewLogin {
        expires_at: expires,
        ..new_login(owner, None, 2)
    };
    let made = store.add_login(&new, at(now())).await.unwrap();
    let there = Some((owner, Credential::Login(made.id)));
    assert_eq!(by_login(store, 1, at(now())).await, None);
    // Gone, not only expired: an earlier clock does not bring it back.
    let earlier = at(now() - Duration::days(1));
    assert_eq!(by_login(store, 1, earlier).await, None);
    assert_eq!(by_login(store, 2, at(now())).await, there);
    assert_eq!(by_login(store, 2, at(expires)).await, None);
    disable(store, owner, true).await;
    assert_eq!(by_login(store, 2, at(now())).await, None);
    disable(store, owner, false).await;
    assert_eq!(by_login(store, 2, at(now())).await, there);

    let listed = store.logins(Some(owner), at(now())).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&made));
    assert_eq!(made.user_agent.as_deref(), Some("Browser/1"));
    assert_eq!(made.address.as_deref(), Some("192.0.2.7"));
    assert_eq!(store.logins(None, at(now())).await.unwrap().len(), 1);
    assert_eq!(store.logins(Some(other), at(now())).await.unwrap(), []);
    assert_eq!(store.logins(None, at(expires)).await.unwrap(), []);

    assert!(
        !store.end_login(made.id, Some(other)).await.unwrap(),
        "another's"
    );
    assert_eq!(by_login(store, 2, at(now())).await, there);
    assert!(store.end_login(made.id, Some(owner)).await.unwrap());
    assert_eq!(by_login(store, 2, at(now())).await, None);
    assert!(!store.end_login(made.id, None).await.unwrap());
}

pub async fn a_login_that_nobody_uses_ends_and_one_that_is_used_does_not(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let (start, week) = (now(), Duration::days(7));
    let [used, unused] = [1, 2].map(|hash| new_login(owner, None, hash));
    let used = store.add_login(&used, at(start)).await.unwrap();
    store.add_login(&unused, at(start)).await.unwrap();
    let key = store.add_key(&new_key(owner, 3)).await.unwrap().id;
    let moment = Duration::milliseconds(1);
    assert!(
        by_login(store, 2, at(start + week - moment))
            .await
            .is_some()
    );
    let three_days = start + Duration::days(3);
    let credentials = [Credential::Login(used.id), Credential::Key(key)];
    store.used(&credentials, three_days).await.unwrap();
    // Another node, which saw it earlier, tells later.
    store.used(&credentials, start).await.unwrap();
    store.used(&[], start).await.unwrap();
    assert_eq!(by_login(store, 2, at(start + week)).await, None);
    assert!(by_login(store, 1, at(start + week)).await.is_some());
    let vouched = store
        .user_by_login([1; 32].into(), at(start + week))
        .await
        .unwrap();
    assert_eq!(vouched.unwrap().last_seen_at, Some(three_days));
    let keys = store.keys(None).await.unwrap();
    assert_eq!(keys[0].last_used_at, Some(three_days));
    assert_eq!(by_login(store, 1, at(three_days + week)).await, None);

    // The next login takes away what is over.
    let next = new_login(owner, None, 4);
    store.add_login(&next, at(start + week)).await.unwrap();
    let logins = "SELECT count(*) FROM login_sessions";
    assert_eq!(db.number(logins).await, 2);
}

pub async fn a_login_by_a_key_ends_with_the_key(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let key = store.add_key(&new_key(owner, 1)).await.unwrap().id;
    let expires = now() + Duration::days(1);
    let expiring = NewKey {
        expires_at: Some(expires),
        ..new_key(owner, 2)
    };
    let expiring = store.add_key(&expiring).await.unwrap().id;
    for (by, hash) in [(Some(key), 3), (Some(expiring), 4), (None, 5)] {
        store
            .add_login(&new_login(owner, by, hash), at(now()))
            .await
            .unwrap();
    }
    let works = async |hash, when| by_login(store, hash, when).await.is_some();
    let present = at(now());
    assert!(works(3, present).await && works(4, present).await && works(5, present).await);
    let vouched = store
        .user_by_login([4; 32].into(), present)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (vouched.key, vouched.expires_at),
        (Some(expiring), Some(expires))
    );
    assert!(store.revoke_key(key, None).await.unwrap());
    assert!(!works(3, present).await);
    assert!(works(4, present).await, "another key's");
    assert!(works(5, present).await, "a link's");
    assert!(!works(4, at(expires)).await, "its key has expired");
    assert!(works(5, at(expires)).await);
}

pub async fn the_last_operator_stays_one_also_when_two_take_it_from_each_other(db: &Scratch) {
    let store = &*db.store;
    let owner = store.ensure_owner("owner").await.unwrap().id;
    let ann = user(store, "ann").await;
    for change in [
        (Some(true), None),
        (None, Some(false)),
        (Some(true), Some(true)),
    ] {
        let (disabled, operator) = change;
        let changed = store
            .change_user(
                owner,
                UserChange {
                    disabled,
                    operator,
                    limits: None,
                },
            )
            .await
            .unwrap();
        assert_eq!(changed, UserChanged::LastOperator, "{change:?}");
    }
    let owner_is = store.user(owner).await.unwrap().unwrap();
    assert!(owner_is.operator && !owner_is.disabled);
    // Who is none may be locked out and let in, and nothing needs to change.
    for disabled in [true, false] {
        assert!(matches!(
            disable(store, ann, disabled).await,
            UserChanged::Done(_)
        ));
    }
    let same = store.change_user(owner, NO_CHANGE).await.unwrap();
    assert!(matches!(same, UserChanged::Done(_)));
    let other = db.open_again().await;
    for _ in 0..10 {
        assert!(matches!(
            make_operator(store, ann, true).await,
            UserChanged::Done(_)
        ));
        let (one, two) = tokio::join!(
            make_operator(store, owner, false),
            disable(&*other, ann, true)
        );
        let refused = [&one, &two].map(|changed| *changed == UserChanged::LastOperator);
        assert_eq!(
            refused.iter().filter(|refused| **refused).count(),
            1,
            "{one:?} {two:?}"
        );
        disable(store, ann, false).await;
        assert!(matches!(
            make_operator(store, ann, true).await,
            UserChanged::Done(_)
        ));
        make_operator(store, owner, true).await;
        make_operator(store, ann, false).await;
    }
}

pub async fn the_epoch_moves_with_all_that_is_taken_away_and_with_nothing_else(db: &Scratch) {
    let store = &*db.store;
    let owner = store.ensure_owner("owner").await.unwrap().id;
    let epoch = async || store.authorisation_epoch().await.unwrap();
    let mut before = epoch().await;
    let ann = user(store, "ann").await;
    let key = store.add_key(&new_key(ann, 1)).await.unwrap().id;
    let logins = [2, 3].map(|hash| new_login(ann, None, hash));
    let login = store.add_login(&logins[0], at(now())).await.unwrap().id;
    let credentials = [Credential::Key(key), Credential::Login(login)];
    store
        .used(&credentials, now() + Duration::minutes(1))
        .await
        .unwrap();
    conversation(store, ann, "t").await;
    store.change_user(ann, NO_CHANGE).await.unwrap();
    disable(store, ann, false).await;
    // What is refused takes nothing away, nor does what was over.
    assert_eq!(disable(store, owner, true).await, UserChanged::LastOperator);
    assert!(!store.revoke_key(key, Some(owner)).await.unwrap());
    assert!(!store.end_login(LoginId::new(), None).await.unwrap());
    let over = NewLogin {
        expires_at: now() - Duration::seconds(1),
        ..logins[1]
    };
    store.add_login(&over, at(now())).await.unwrap();
    store
        .add_login(
            &NewLogin {
                hash: [4; 32].into(),
                ..logins[1]
            },
            at(now()),
        )
        .await
        .unwrap();
    assert_eq!(epoch().await, before);

    let mut moved = async |what: &str| {
        let after = epoch().await;
        assert!(after > before, "{what}");
        before = after;
    };
    make_operator(store, ann, true).await;
    moved("made an operator").await;
    make_operator(store, ann, false).await;
    moved("is none any more").await;
    disable(store, ann, true).await;
    moved("disabled").await;
    assert!(store.end_login(login, None).await.unwrap());
    moved("a login ended").await;
    assert!(store.revoke_key(key, None).await.unwrap());
    moved("a key revoked").await;
    for by_hand in [
        "UPDATE users SET disabled = false",
        "UPDATE api_keys SET revoked_at = NULL",
        "UPDATE api_keys SET expires_at = created_at",
        "UPDATE login_sessions SET expires_at = created_at WHERE user_agent IS NOT NULL",
        "DELETE FROM api_keys",
        "DELETE FROM users WHERE name = 'ann'",
    ] {
        db.tamper(by_hand, by_hand).await;
        moved(by_hand).await;
    }
}

pub async fn who_is_vouched_for_is_who_would_be_let_in(db: &Scratch) {
    let store = &*db.store;
    let (ann, bob) = (user(store, "ann").await, user(store, "bob").await);
    let mut credentials = Vec::new();
    // More than one statement takes; only a few of them are there.
    credentials.extend((0..2500).map(|_| Credential::Key(KeyId::new())));
    let mut hold = Vec::new();
    for (hash, owner) in [(1, ann), (2, ann), (3, bob)] {
        let key = store.add_key(&new_key(owner, hash)).await.unwrap().id;
        let login = new_login(owner, Some(key), 10 + hash);
        let login = store.add_login(&login, at(now())).await.unwrap().id;
        hold.push([Credential::Key(key), Credential::Login(login)]);
    }
    credentials.extend(hold.iter().flatten());
    let vouched = async |when| {
        let mut said = store.vouched(&credentials, when).await.unwrap();
        said.sort_by_key(|vouched| vouched.credential);
        said.into_iter()
            .map(|vouched| (vouched.user.name, vouched.credential))
            .collect::<Vec<_>>()
    };
    let expected = |of: &[(&str, [Credential; 2])]| {
        let mut all: Vec<_> = of
            .iter()
            .flat_map(|(name, two)| two.iter().map(|one| ((*name).to_owned(), *one)))
            .collect();
        all.sort_by_key(|(_, credential)| *credential);
        all
    };
    let all = [("ann", hold[0]), ("ann", hold[1]), ("bob", hold[2])];
    assert_eq!(vouched(at(now())).await, expected(&all));
    let Credential::Key(key) = hold[0][0] else {
        unreachable!()
    };
    store.revoke_key(key, None).await.unwrap();
    disable(store, bob, true).await;
    assert_eq!(vouched(at(now())).await, expected(&all[1..2]));
    let in_a_week = vouched(at(now() + Duration::days(8))).await;
    assert_eq!(
        in_a_week,
        [("ann".to_owned(), hold[1][0])],
        "the login was not seen"
    );
    assert!(store.vouched(&[], at(now())).await.unwrap().is_empty());
}

pub async fn keys_and_logins_from_before_the_migration_hold(db: &Scratch) {
    const ROWS: &str = "
        INSERT INTO users (id, name, operator, created_at) VALUES ({1}, 'ann', true, {at});
        INSERT INTO api_keys (id, user_id, name, hash, revoked, created_at) VALUES ({2}, {1}, 'held', {h2}, false, {at});
        INSERT INTO api_keys (id, user_id, name, hash, revoked, created_at) VALUES ({3}, {1}, 'gone', {h3}, true, {at});
        INSERT INTO login_sessions (id, user_id, key_id, hash, expires_at) VALUES ({4}, {1}, {2}, {h4}, {later});
        INSERT INTO login_sessions (id, user_id, key_id, hash, expires_at) VALUES ({5}, {1}, {3}, {h5}, {later});";
    let directory = tempfile::tempdir().unwrap();
    let engine = if db.is_postgres() {
        "postgres"
    } else {
        "sqlite"
    };
    let steps = directory.path().join("steps");
    std::fs::create_dir(&steps).unwrap();
    let all = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
    for step in std::fs::read_dir(all).unwrap() {
        let step = step.unwrap();
        if step.file_name().to_str().unwrap() < "0006" {
            std::fs::copy(step.path(), steps.join(step.file_name())).unwrap();
        }
    }
    let migrator = Migrator::new(steps.as_path()).await.unwrap();
    let rows = |at: &str, later: &str, blob: fn(String) -> String, hash: fn(String) -> String| {
        let rows = (1..=5u128).fold(ROWS.to_owned(), |sql, n| {
            sql.replace(
                &format!("{{{n}}}"),
                &blob(uuid::Uuid::from_u128(n).simple().to_string()),
            )
            .replace(&format!("{{h{n}}}"), &hash(format!("{n:02x}").repeat(32)))
        });
        AssertSqlSafe(rows.replace("{at}", at).replace("{later}", later))
    };
    let url = if db.is_postgres() {
        db.tamper("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "")
            .await;
        let mut server = PgConnection::connect(&db.url).await.unwrap();
        migrator.run_direct(None, &mut server, false).await.unwrap();
        let rows = rows(
            "now()",
            "now() + interval '1 day'",
            |id| format!("'{id}'"),
            |hash| format!("'\\x{hash}'"),
        );
        sqlx::raw_sql(rows).execute(&mut server).await.unwrap();
        db.url.clone()
    } else {
        let url = format!(
            "sqlite:{}?mode=rwc",
            directory.path().join("old.db").display()
        );
        let mut file = SqliteConnection::connect(&url).await.unwrap();
        migrator.run_direct(None, &mut file, false).await.unwrap();
        let rows = rows(
            "1000",
            "(unixepoch() + 86400) * 1000",
            |id| format!("x'{id}'"),
            |hash| format!("x'{hash}'"),
        );
        sqlx::raw_sql(rows).execute(&mut file).await.unwrap();
        file.close().await.unwrap();
        url
    };
    let store = open(&url, &StoreOptions::default()).await.unwrap();
    let present = at(now());
    assert!(by_key(&*store, 2, present).await.is_some());
    assert_eq!(by_key(&*store, 3, present).await, None);
    assert!(by_login(&*store, 4, present).await.is_some());
    assert_eq!(
        by_login(&*store, 5, present).await,
        None,
        "its key was revoked"
    );
    let in_a_moment = at(now() + Duration::minutes(1));
    assert!(by_login(&*store, 4, in_a_moment).await.is_some());
    let keys = store.keys(None).await.unwrap();
    let told: Vec<_> = keys
        .iter()
        .map(|key| (&*key.name, key.revoked_at.is_some()))
        .collect();
    assert_eq!(told, [("held", false), ("gone", true)]);
    assert!(
        keys.iter()
            .all(|key| key.prefix.is_empty() && key.expires_at.is_none())
    );
    assert_eq!(store.logins(None, present).await.unwrap().len(), 2);
    store.close().await;
}
