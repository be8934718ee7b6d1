//! Tests that run in namespaces of their own, where they may take network and disk away from what they start; as root or not.

use std::{io::Write as _, process::Stdio};
use tokio::process::Command;

/// Set in the process that runs a test inside.
const INSIDE: &str = "CONTINUO_TEST_IN_NAMESPACE";

/// True inside namespaces of its own, for network and mounts. Outside, it runs this test there and answers false; where the machine
/// has none, it says so.
pub async fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up").await;
        return true;
    }
    let ways: [&[&str]; 2] = [
        &["unshare", "--net", "--mount"],
        &["unshare", "--user", "--map-root-user", "--net", "--mount"],
    ];
    for way in ways {
        let enter = |command: &[&str]| {
            let mut entered = Command::new(way[0]);
            entered.args(&way[1..]).args(command);
            entered.env(INSIDE, "1").kill_on_drop(true);
            entered
        };
        let probe = "ip link set lo up && ip link add one type veth peer name two && unshare --net true && mount -t tmpfs none /mnt";
        let probed = enter(&["sh", "-c", probe]).stderr(Stdio::null()).status();
        if !probed.await.is_ok_and(|status| status.success()) {
            continue;
        }
        let own = std::env::current_exe().expect("a test binary");
        let own = own.to_str().expect("UTF-8");
        let ran = enter(&[own, "--exact", test, "--include-ignored", "--nocapture"]).output();
        let ran = ran.await.expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains("1 passed"),
            "{said}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        println!("{said}");
        return false;
    }
    // Past the test harness, which keeps to itself what a test prints that passes.
    let line = format!(
        "SKIPPED: {test}: this machine allows no namespaces (unshare --user --net --mount, iproute2)\n"
    );
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("a standard error");
    false
}

/// A command that succeeds.
pub async fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().await;
    assert!(status.expect("a shell").success(), "{command}");
}
