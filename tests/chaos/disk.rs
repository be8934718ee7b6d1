//! A full disk under database and spool: said, survived, and made up for when there is room again.

use crate::{
    Scene,
    namespace::{enter, run},
    support::{app::send, events::Reader, fake_upstream::FakeUpstream, process::Running, until},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_reader_a_word_and_the_answer_is_stored_when_there_is_room_again() {
    if !enter("disk::a_full_disk_costs_no_reader_a_word_and_the_answer_is_stored_when_there_is_room_again").await {
        return;
    }
    let data = tempfile::tempdir().expect("a directory");
    let disk = data.path().display().to_string();
    run(&format!("mount -t tmpfs -o size=8m none {disk}")).await;
    let upstream = FakeUpstream::start().await;
    let mut command = crate::command(data.path(), &upstream, &[]);
    let server = Running::of(data.path(), &mut command).await;
    let scene = Scene {
        server,
        upstream,
        data,
    };
    let owner = scene.owner();
    scene.is_well().await;
    let (turn, mut call) = scene.answering().await;
    let mut events = owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    call.send("before ").await;
    events.read_until(&mut reader, 7).await;

    run(&format!(
        "! dd if=/dev/zero of={disk}/everything 2>/dev/null"
    ))
    .await;
    let text = "in the dark ".repeat(20_000);
    call.send(&text).await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert!(
        reader.text == format!("before {text}"),
        "{}",
        reader.text.len()
    );
    assert_eq!(reader.outcome(), "completed");
    let done = reader.done.as_ref().expect("the end");
    assert_eq!(done["stored"], false, "{done}");
    let refused = send(owner.say(&turn.conversation, &json!({"content": "more"}))).await;
    assert_eq!(refused.status(), 503);

    run(&format!("rm {disk}/everything")).await;
    let elsewhere = owner.conversation().await;
    until("questions are taken again", async || {
        let asked = send(owner.say(&elsewhere, &json!({"content": "more"}))).await;
        asked.status() == 202
    })
    .await;
    scene.upstream.next_call().await.answer(&["Yes"]).await;
    until("the answer is there", async || {
        owner.read(&elsewhere).await["messages"][1]["status"] == "completed"
    })
    .await;
    let Scene {
        server,
        upstream,
        data,
    } = scene;
    server.terminate().await;
    // From nobody's memory.
    let mut command = crate::command(data.path(), &upstream, &[]);
    let server = Running::of(data.path(), &mut command).await;
    let stored = server.owner.message(&turn).await;
    assert_eq!(stored["status"], "completed");
    assert!(stored["content"] == reader.text.as_str(), "all of it");
    server.terminate().await;
    run(&format!("umount {}", data.path().display())).await;
}
