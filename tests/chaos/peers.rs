//! Peers that say that they go, and peers that stop reading: the registry lets them go, and the answer goes on.

use crate::{
    Scene, emitters,
    support::{
        PATIENCE,
        app::{Account, Turn},
        events::Reader,
        proxy::{Cut, Proxy},
        raw::Raw,
    },
};
use tokio::time::timeout;

/// No heartbeat and no timeout can tell within the patience of a test.
const UNTOLD: [(&str, &str); 2] = [
    ("emitter.heartbeat_seconds", "20"),
    ("emitter.peer_timeout_seconds", "3600"),
];

fn authority(origin: &str) -> std::net::SocketAddr {
    let authority = origin.strip_prefix("http://").expect("plain HTTP");
    authority.parse().expect("an address")
}

/// The owner, seen through a proxy.
pub async fn through_a_proxy(account: &Account) -> (Proxy, Account) {
    let proxy = Proxy::to(authority(&account.origin)).await;
    let account = Account {
        origin: format!("http://{}", proxy.address()),
        // One that has no connections yet.
        client: reqwest::Client::new(),
        ..account.clone()
    };
    (proxy, account)
}

#[tokio::test]
async fn a_fin_or_a_reset_on_the_way_is_noticed_without_a_write_and_the_reader_resumes() {
    let scene = Scene::start(&UNTOLD).await;
    let (turn, mut call) = scene.answering().await;
    let (proxy, owner) = through_a_proxy(scene.owner()).await;
    let mut reader = Reader::default();
    for (round, cut) in [Cut::Finish, Cut::Reset].into_iter().enumerate() {
        let mut events = owner.events(&turn, reader.position).await;
        call.send("piece ").await;
        events.read_until(&mut reader, 6 * (round + 1)).await;
        proxy.cut(cut).await;
        assert_eq!(events.next().await, None);
        assert_eq!(scene.left("disconnected").await, round as u64 + 1);
    }
    call.send("end").await;
    call.finish("stop").await;
    call.done().await;
    let mut events = owner.events(&turn, reader.position).await;
    events.read_to_end(&mut reader).await;
    assert_eq!((reader.text.as_str(), reader.gaps), ("piece piece end", 0));
    assert_eq!(scene.left("finished").await, 1);
}

/// A reader with the smallest window there is, which has read the head of its response and will read no more.
pub async fn stuck(account: &Account, turn: &Turn) -> Raw {
    let mut raw = Raw::connect_with_smallest_window(&account.origin).await;
    let bearer = format!("authorization: Bearer {}", account.key);
    raw.head("GET", &turn.events(), &[&bearer]).await;
    assert_eq!(raw.answer_head().await.status, 200);
    raw
}

#[tokio::test]
async fn a_reader_that_stops_reading_for_ever_is_cut_while_text_or_only_heartbeats_flow() {
    let options = [
        ("emitter.heartbeat_seconds", "1"),
        ("emitter.peer_timeout_seconds", "1"),
    ];
    let scene = Scene::start(&options).await;
    let (loud, mut flowing) = scene.answering().await;
    let (silent, mut pausing) = scene.answering().await;
    let of_text = stuck(scene.owner(), &loud).await;
    let of_heartbeats = stuck(scene.owner(), &silent).await;
    assert_eq!(emitters(scene.owner()).await["total"], 2);
    // More than its window holds; nothing but heartbeats from here on.
    pausing.send(&"x".repeat(16 * 1024)).await;
    let owner = scene.owner();
    let mut sent = 0;
    let both_leave = async {
        while emitters(owner).await["total"] != 0 {
            flowing.send(&"more ".repeat(200)).await;
            sent += 200;
        }
    };
    let left = timeout(PATIENCE, both_leave).await;
    left.expect("both are gone while they still hold their sockets open");
    assert_eq!(scene.left("disconnected").await, 2);
    drop((of_text, of_heartbeats));
    for call in [&mut flowing, &mut pausing] {
        call.finish("stop").await;
        call.done().await;
    }
    assert_eq!(owner.read_all(&loud).await.text, "more ".repeat(sent));
    assert_eq!(owner.read_all(&silent).await.text.len(), 16 * 1024);
}
