//! Readers on slow lines: they get every character, through as many reconnects as it takes.

use crate::{
    Scene,
    peers::through_a_proxy,
    support::{app::Account, app::Turn, events::Reader, proxy::Mode},
};

/// Reads an answer to its end over a line of so many bytes a second; how often it was cut.
async fn read_slowly(account: &Account, turn: &Turn, rate: usize) -> (Reader, usize) {
    let (proxy, account) = through_a_proxy(account).await;
    proxy.set(Mode::Throttle {
        up: None,
        down: Some(rate),
    });
    let (mut reader, mut cuts) = (Reader::default(), 0);
    loop {
        let mut events = account.events(turn, reader.position).await;
        events.read_to_end(&mut reader).await;
        if reader.done.is_some() {
            return (reader, cuts);
        }
        cuts += 1;
        assert!(cuts < 50, "it never gets on: {}", reader.position);
    }
}

/// An answer that is there as a whole, of many small events.
async fn told(scene: &Scene) -> (Turn, String) {
    let (turn, mut call) = scene.answering().await;
    let pieces: Vec<String> = (0..160)
        .map(|n| format!("{n} 漢😀 of a long story "))
        .collect();
    for piece in &pieces {
        call.send(piece).await;
    }
    call.finish("stop").await;
    call.done().await;
    scene.owner().read_all(&turn).await;
    (turn, pieces.concat())
}

#[tokio::test]
async fn readers_at_one_and_eight_kilobytes_a_second_get_the_exact_text() {
    let scene = Scene::start(&[]).await;
    let (turn, text) = told(&scene).await;
    let (slowest, slow) = tokio::join!(
        read_slowly(scene.owner(), &turn, 1000),
        read_slowly(scene.owner(), &turn, 8000)
    );
    for (reader, cuts) in [slowest, slow] {
        assert_eq!((reader.text == text, reader.gaps, cuts), (true, 0, 0));
    }
    scene.left("finished").await;
}

#[tokio::test]
async fn a_reader_too_slow_for_the_server_is_cut_and_resumes_until_it_has_the_exact_text() {
    let scene = Scene::start(&[("emitter.peer_timeout_seconds", "1")]).await;
    let (turn, text) = told(&scene).await;
    let (reader, cuts) = read_slowly(scene.owner(), &turn, 1000).await;
    assert!(cuts > 0);
    assert!(
        reader.text == text,
        "{} of {}",
        reader.text.len(),
        text.len()
    );
    scene.left("finished").await;
}
