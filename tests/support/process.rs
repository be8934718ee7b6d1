//! The real binary as a process, which is killed when its handle is dropped.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use super::{PATIENCE, app::Account};
use reqwest::Client;
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    /// What was not read before.
    pub stdout: String,
    pub stderr: String,
}

pub struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
}

/// `continuo` with these arguments and nothing of the caller's environment; what it keeps is below `data`.
pub fn continuo(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_continuo"));
    command
        .env_clear()
        .env("XDG_DATA_HOME", data)
        // The upstreams of these tests expect questions only.
        .env("CONTINUO__TITLES__ENABLED", "false")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A command that ends by itself.
pub async fn run(data: &Path, arguments: &[&str]) -> Ended {
    Process::start(&mut continuo(data, arguments)).ended().await
}

/// The standard output of a command that succeeds.
pub async fn output(data: &Path, arguments: &[&str]) -> String {
    let ended = run(data, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
    assert_eq!(ended.stderr, "", "{arguments:?}");
    ended.stdout
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let stderr = tokio::spawn(async move {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text).await;
            String::from_utf8(text).expect("UTF-8")
        });
        Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr,
        }
    }

    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.stdout.next_line()).await;
        let line = line.expect("a line in time").expect("UTF-8");
        line.expect("it runs")
    }

    /// Sends a signal, such as `TERM`, to this process alone.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(sent.expect("kill is installed").success());
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Its resident memory.
    pub fn resident_kib(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        size.expect("a size")
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("it ends in time").expect("its status");
        let mut stdout = String::new();
        while let Ok(Some(line)) = self.stdout.next_line().await {
            stdout.push_str(&line);
            stdout.push('\n');
        }
        Ended {
            code: status.code(),
            stdout,
            stderr: self.stderr.await.expect("no panic"),
        }
    }
}

/// A running server, and somebody with a key.
pub struct Running {
    pub process: Process,
    pub origin: String,
    /// The link of the second line.
    pub link: String,
    pub owner: Account,
}

impl Running {
    /// A server on a free port, with a key for its owner.
    pub async fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::of(data, &mut continuo(data, arguments)).await
    }

    pub async fn of(data: &Path, command: &mut Command) -> Self {
        Self::at("127.0.0.1:0", data, command).await
    }

    /// On this address, whose port is free or 0.
    pub async fn at(bind: &str, data: &Path, command: &mut Command) -> Self {
        let mut process = Process::start(command.args(["--bind", bind]));
        let listening = process.line().await;
        let origin = listening.strip_prefix("listening on ");
        let origin = origin.unwrap_or_else(|| panic!("{listening}")).to_owned();
        let link = process.line().await;
        let mut adding = continuo(data, &["key", "add", "test"]);
        // To the same database.
        let own = command.as_std().get_envs();
        adding.envs(own.filter_map(|(name, value)| Some((name, value?))));
        let key = Process::start(&mut adding).ended().await.stdout;
        let owner = Account {
            origin: origin.clone(),
            key: key.trim().to_owned(),
            client: Client::new(),
        };
        Self {
            process,
            origin,
            link,
            owner,
        }
    }

    /// Ends it in order.
    pub async fn terminate(self) -> Ended {
        self.process.signal("TERM").await;
        self.process.ended().await
    }
}
