//! How connections end: by the client, by age, by standing still; and that none of it touches the answer or another reader.

use crate::support::{
    PATIENCE,
    app::{TestApp, Turn, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
    raw::Raw,
};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};

async fn emitters(app: &TestApp) -> Value {
    app.owner.get_json("/api/operator/emitters").await
}

/// A reader over a socket of its own, attached: the head of its response has come.
async fn attach_raw(app: &TestApp, turn: &Turn) -> Raw {
    let mut raw = Raw::connect(&app.origin).await;
    attach_on(&mut raw, app, turn).await;
    raw
}

async fn attach_on(raw: &mut Raw, app: &TestApp, turn: &Turn) {
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    raw.head("GET", &turn.events(), &[&bearer, "connection: close"])
        .await;
    assert_eq!(raw.answer_head().await.status, 200);
}

#[tokio::test]
async fn a_connection_that_is_closed_or_reset_leaves_the_registry_and_the_answer_goes_on() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut ended = 0;
    for how in ["close", "half-close", "reset"] {
        println!("{how}");
        let mut raw = attach_raw(&app, &turn).await;
        assert_eq!(emitters(&app).await["total"], 1);
        match how {
            "close" => drop(raw),
            "half-close" => {
                raw.finish().await;
                raw.rest().await;
            }
            _ => {
                raw.socket.set_zero_linger().expect("a socket");
                drop(raw);
            }
        }
        app.no_emitters().await;
        ended += 1;
        assert_eq!(emitters(&app).await["closed"]["disconnected"], ended);
    }
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    assert_eq!(app.owner.read_all(&turn).await.text, "Hello");
    app.end().await;
}

#[tokio::test]
async fn a_hundred_that_come_and_go_leave_nothing_behind() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    for round in 0..100 {
        let raw = attach_raw(&app, &turn).await;
        if round % 2 == 0 {
            raw.socket.set_zero_linger().expect("a socket");
        }
    }
    app.no_emitters().await;
    let list = emitters(&app).await;
    assert_eq!((&list["total"], &list["opened"]), (&json!(0), &json!(100)));
    assert_eq!(list["closed"]["disconnected"], 100);
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    app.end().await;
}

#[tokio::test]
async fn a_stream_that_grew_old_ends_and_is_resumed_exactly() {
    let app = spawn_app_with(&[("emitter.lifetime_seconds", "1")]).await;
    let (turn, mut call) = app.answering().await;
    let mut reader = Reader::default();
    let mut text = String::new();
    for round in 0..2 {
        let mut events = app.owner.events(&turn, reader.position).await;
        let piece = format!("{round} 漢😀 ");
        call.send(&piece).await;
        text.push_str(&piece);
        events.read_to_end(&mut reader).await;
        assert_eq!(reader.done, None, "ended by age, not by the answer");
        assert_eq!(reader.text, text);
        assert_eq!(emitters(&app).await["closed"]["lifetime"], round + 1);
    }
    let mut events = app.owner.events(&turn, reader.position).await;
    call.send("end").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!((reader.text, reader.gaps), (format!("{text}end"), 0));
    app.end().await;
}

#[tokio::test]
async fn a_heartbeat_tells_the_position_and_has_no_id_of_its_own() {
    let app = spawn_app_with(&[("emitter.heartbeat_seconds", "1")]).await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    call.send("Hello").await;
    events.expect("delta").await;
    for _ in 0..2 {
        let ping = events.next_frame().await.expect("a heartbeat");
        assert_eq!(ping.event.as_deref(), Some("ping"));
        assert_eq!((ping.id, ping.data), (None, Some(json!({"seq": 2}))));
    }
    let raw = String::from_utf8(events.raw.clone()).expect("UTF-8");
    assert!(
        raw.contains("\n\nevent: ping\ndata: {\"seq\":2}\n\n"),
        "{raw}"
    );
    call.finish("stop").await;
    call.done().await;
    events.expect("block").await;
    events.expect("done").await;
    app.end().await;
}

#[tokio::test]
async fn a_reader_that_stands_still_slows_neither_the_answer_nor_the_others() {
    const PIECES: usize = 96;
    // On a busy machine it may stand still for long.
    let app = spawn_app_with(&[("emitter.peer_timeout_seconds", "600")]).await;
    let (turn, mut call) = app.answering().await;
    let mut stuck = Raw::connect(&app.origin).await;
    let window = |socket: &TcpStream, bytes| SockRef::from(socket).set_recv_buffer_size(bytes);
    window(&stuck.socket, 64 * 1024).expect("a socket");
    attach_on(&mut stuck, &app, &turn).await;
    let mut reader = Reader::default();
    let mut events = app.owner.events(&turn, 0).await;
    let piece = "x".repeat(64 * 1024);
    let reading = async {
        events.read_to_end(&mut reader).await;
    };
    let writing = async {
        for _ in 0..PIECES {
            assert!(call.send(&piece).await);
        }
        call.finish("stop").await;
        call.done().await;
    };
    tokio::join!(reading, writing);
    assert_eq!(reader.outcome(), "completed");
    assert_eq!(reader.text.len(), PIECES * piece.len());
    let list = emitters(&app).await;
    assert_eq!(list["total"], 1, "the one that stands still");
    assert!(list["items"][0]["lag"].as_u64() > Some(0), "{list}");
    assert!(
        list["items"][0]["bytes"].as_u64() < Some(4 << 20),
        "it holds a position, not a buffer: {list}"
    );

    // It wakes up, and has missed nothing.
    window(&stuck.socket, 1 << 20).expect("a socket");
    let (rest, clean) = stuck.rest().await;
    assert!(clean);
    let rest = String::from_utf8(rest).expect("UTF-8");
    // In pieces, and once more in the one paragraph that they are.
    assert_eq!(rest.matches(&piece).count(), 2 * PIECES);
    assert!(rest.contains("event: done\n"));
    app.end().await;
}

#[tokio::test]
async fn readers_of_a_large_answer_catch_up_in_pieces() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    for n in 0..1000 {
        call.send(&format!("{n} ")).await;
    }
    call.finish("stop").await;
    call.done().await;
    let whole = app.owner.read_all(&turn).await;
    let path = format!("{}?after=0&wait=0", turn.events());
    let mut polled = String::new();
    let (mut after, mut closed) = (0, false);
    while !closed {
        let path = path.replace("after=0", &format!("after={after}"));
        let request = app.owner.get(&path).header("accept", "application/json");
        let page: Value = send(request).await.json().await.expect("JSON");
        for event in page["events"].as_array().expect("events") {
            polled.push_str(event["data"]["text"].as_str().unwrap_or_default());
        }
        (after, closed) = (
            page["next"].as_u64().expect("a position"),
            page["closed"] == true,
        );
    }
    assert_eq!(polled, whole.text);
    assert_eq!(after, whole.position);
    app.end().await;
}

#[tokio::test]
async fn events_in_the_query_work_as_a_browser_without_headers_needs_them() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    app.owner.events(&turn, 1).await.expect("delta").await;
    let response = send(app.owner.get(&format!("{}?after=1", turn.events()))).await;
    let mut events = Events::new(response);
    assert_eq!(events.expect("delta").await.id, Some(2));
    // A header that is there wins: the browser sends it when it reconnects to the same URL.
    let request = app.owner.get(&format!("{}?after=0", turn.events()));
    let mut again = Events::new(send(request.header("last-event-id", "2")).await);
    call.finish("stop").await;
    call.done().await;
    assert_eq!(again.expect("block").await.id, Some(3));
    assert_eq!(again.expect("done").await.id, Some(4));
    events.expect("block").await;
    events.expect("done").await;
    app.end().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_again_is_cut_and_leaves_the_registry() {
    let app = spawn_app_with(&[("emitter.peer_timeout_seconds", "1")]).await;
    let (turn, mut call) = app.answering().await;
    let mut stuck = Raw::connect(&app.origin).await;
    SockRef::from(&stuck.socket)
        .set_recv_buffer_size(16 * 1024)
        .expect("a socket");
    attach_on(&mut stuck, &app, &turn).await;
    let piece = "x".repeat(64 * 1024);
    for _ in 0..64 {
        assert!(call.send(&piece).await);
    }
    timeout(PATIENCE, app.chat.registry.no_emitters())
        .await
        .expect("its socket fails while it still holds it open");
    let list = emitters(&app).await;
    assert_eq!(list["closed"]["disconnected"], 1, "{list}");
    drop(stuck);
    call.finish("stop").await;
    call.done().await;
    // On a busy machine this one may be taken for stuck, too: then it resumes.
    let mut reader = Reader::default();
    while reader.done.is_none() {
        let mut events = app.owner.events(&turn, reader.position).await;
        events.read_to_end(&mut reader).await;
    }
    assert_eq!(reader.text.len(), 64 * piece.len());
    app.end().await;
}
