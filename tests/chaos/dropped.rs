//! Peers that vanish without a word: their packets are dropped on the way, in network namespaces of the test's own.

use crate::{
    Scene, emitters,
    namespace::{enter, run},
    peers::stuck,
    support::{
        PATIENCE,
        app::{Account, Turn},
        fake_upstream::Call,
        raw::Raw,
    },
};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Duration, Instant, timeout},
};

/// Of the server, towards its peers.
const SERVER: &str = "10.77.0.1";

/// A machine of its own as far as the network goes: a shell in a namespace, on a line to the server that the test can take away.
struct Peer {
    /// Killed when it is dropped.
    _shell: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// On a line of this number; a later one with the same number has the same address.
    async fn connect(number: u8) -> Self {
        let mut shell = Command::new("unshare")
            .args(["--net", "bash", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare is there");
        let stdout = BufReader::new(shell.stdout.take().expect("piped")).lines();
        let stdin = shell.stdin.take().expect("piped");
        let id = shell.id().expect("it runs");
        let mut peer = Self {
            _shell: shell,
            stdin,
            stdout,
        };
        peer.run("true").await;
        run(&format!(
            "ip link add server{number} type veth peer name peer netns {id} &&
             ip addr add {SERVER}/32 peer 10.77.0.{number} dev server{number} && ip link set server{number} up"
        ))
        .await;
        peer.run(&format!(
            "ip addr add 10.77.0.{number}/32 peer {SERVER} dev peer && ip link set peer up"
        ))
        .await;
        peer
    }

    /// Attaches, has read `started`, and reads no more.
    async fn attach(&mut self, account: &Account, turn: &Turn) {
        let port = account.origin.rsplit(':').next().expect("a port");
        let request = format!(
            r"GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nx-session-id: dropped\r\n\r\n",
            turn.events(),
            account.key
        );
        self.run(&format!(
            "exec 3<>/dev/tcp/{SERVER}/{port} && printf '{request}' >&3 && grep -q -m1 'event: started' <&3"
        ))
        .await;
    }

    /// Every packet to it and from it is dropped from here on.
    async fn vanish(&mut self) {
        self.run("ip link set peer down").await;
    }

    /// A command in its shell that succeeds.
    async fn run(&mut self, command: &str) {
        let line = format!("{command} </dev/null >&2; echo $?\n");
        let line = if command.starts_with("exec") {
            format!("{command}; echo $?\n")
        } else {
            line
        };
        self.stdin
            .write_all(line.as_bytes())
            .await
            .expect("its shell runs");
        let status = timeout(PATIENCE, self.stdout.next_line()).await;
        let status = status.expect("an end in time").expect("UTF-8");
        assert_eq!(status.as_deref(), Some("0"), "{command}");
    }
}

/// Takes the line away: the peer's machine is gone, whatever it held.
async fn cut_line(number: u8) {
    run(&format!("ip link del server{number}")).await;
}

/// A server for peers in other namespaces.
async fn scene(options: &[(&str, &str)]) -> Scene {
    Scene::start_at("0.0.0.0:0", options).await
}

#[tokio::test]
async fn a_peer_whose_packets_are_dropped_leaves_the_registry() {
    if !enter("dropped::a_peer_whose_packets_are_dropped_leaves_the_registry").await {
        return;
    }
    let options = [
        ("emitter.heartbeat_seconds", "1"),
        ("emitter.peer_timeout_seconds", "2"),
    ];
    let scene = scene(&options).await;
    let (turn, mut call) = scene.answering().await;
    let mut peer = Peer::connect(2).await;
    peer.attach(scene.owner(), &turn).await;
    peer.vanish().await;
    assert_eq!(
        emitters(scene.owner()).await["total"],
        1,
        "nobody can know yet"
    );
    assert_eq!(scene.left("disconnected").await, 1);
    drop(peer);
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    assert_eq!(scene.owner().read_all(&turn).await.text, "Hello");
}

#[tokio::test]
async fn a_peer_that_forgot_the_connection_in_its_sleep_leaves_with_the_next_heartbeat() {
    if !enter(
        "dropped::a_peer_that_forgot_the_connection_in_its_sleep_leaves_with_the_next_heartbeat",
    )
    .await
    {
        return;
    }
    let options = [
        ("emitter.heartbeat_seconds", "1"),
        // Only the peer's own RST can tell.
        ("emitter.peer_timeout_seconds", "3600"),
    ];
    let scene = scene(&options).await;
    let (turn, _call) = scene.answering().await;
    let mut before = Peer::connect(2).await;
    before.attach(scene.owner(), &turn).await;
    cut_line(2).await;
    assert_eq!(
        emitters(scene.owner()).await["total"],
        1,
        "nobody can know yet"
    );
    let awake = Peer::connect(2).await;
    assert_eq!(scene.left("disconnected").await, 1);
    drop((before, awake));
}

/// A reader with this session's name, over a socket of its own.
async fn attach(account: &Account, turn: &Turn, session: &str) -> Raw {
    let mut raw = Raw::connect(&account.origin).await;
    let bearer = format!("authorization: Bearer {}", account.key);
    let session = format!("x-session-id: {session}");
    raw.head("GET", &turn.events(), &[&bearer, &session]).await;
    assert_eq!(raw.answer_head().await.status, 200);
    raw
}

#[tokio::test]
#[ignore = "prints figures for a minute: tests/run --soak"]
async fn soak_how_long_each_kind_of_dead_peer_stays_with_default_options() {
    if !enter("dropped::soak_how_long_each_kind_of_dead_peer_stays_with_default_options").await {
        return;
    }
    let scene = scene(&[("limits.generations_per_user", "20")]).await;
    let owner = scene.owner();
    for how in ["FIN", "RST"] {
        let (turn, call) = scene.answering().await;
        let raw = attach(owner, &turn, "alive").await;
        if how == "RST" {
            raw.socket.set_zero_linger().expect("a socket");
        }
        drop(raw);
        println!("{how}: {} ms", until_gone(owner, &turn).await.as_millis());
        drop(call);
    }
    // All of these at once.
    let (dropped_idle, _idle) = scene.answering().await;
    let (dropped_busy, busy) = scene.answering().await;
    let (asleep, _asleep) = scene.answering().await;
    let (window_busy, filling) = scene.answering().await;
    let (window_idle, mut filled) = scene.answering().await;
    let mut peers = Vec::new();
    for (number, turn) in [(2, &dropped_idle), (3, &dropped_busy), (4, &asleep)] {
        let mut peer = Peer::connect(number).await;
        peer.attach(owner, turn).await;
        peers.push(peer);
    }
    let stuck = [
        stuck(owner, &window_busy).await,
        stuck(owner, &window_idle).await,
    ];
    filled.send(&"x".repeat(64 * 1024)).await;
    peers[0].vanish().await;
    peers[1].vanish().await;
    cut_line(4).await;
    peers.push(Peer::connect(4).await);
    let flows = tokio::spawn(flow([busy, filling]));
    let kinds = [
        ("packets dropped, heartbeats only", &dropped_idle),
        ("packets dropped, text flows", &dropped_busy),
        (
            "half-open after sleep, RST with the next heartbeat",
            &asleep,
        ),
        ("zero window, text flows", &window_busy),
        ("zero window, heartbeats only", &window_idle),
    ];
    let stay = kinds.map(|(_, turn)| until_gone(owner, turn));
    let stayed = futures_util::future::join_all(stay).await;
    flows.abort();
    for ((kind, _), stayed) in kinds.into_iter().zip(stayed) {
        println!("{kind}: {:.1} s", stayed.as_secs_f64());
        assert!(stayed <= Duration::from_secs(30), "{kind}");
    }
    drop((peers, stuck));
    scene.left("disconnected").await;
}

/// Text at a gentle pace, until the task is ended.
async fn flow(mut calls: [Call; 2]) {
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        for call in &mut calls {
            call.send(&"x".repeat(1000)).await;
        }
    }
}

/// How long this generation's only reader stays.
async fn until_gone(operator: &Account, turn: &Turn) -> Duration {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        let list = emitters(operator).await;
        let rows = list["items"].as_array().expect("rows");
        if rows
            .iter()
            .all(|row| row["target"] != turn.generation.as_str())
        {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{list}");
    }
}
