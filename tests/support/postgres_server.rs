//! A Postgres server of a test's own, which the test stops and starts again on the same port; it ends with its handle.
#![allow(dead_code, reason = "no test binary uses all of it")]

use super::PATIENCE;
use sqlx::{Connection as _, PgConnection};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, timeout},
};

pub struct PostgresServer {
    port: u16,
    child: Option<Child>,
    cluster: TempDir,
}

/// How it is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Halt {
    /// Ends every connection and shuts down in order.
    Fast,
    /// At once, as a crash: the next start recovers.
    Immediate,
}

impl PostgresServer {
    /// A new cluster, running.
    pub async fn start() -> Self {
        let cluster = tempfile::tempdir().expect("a directory");
        // It may run as another user.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(cluster.path(), open).expect("allowed");
        let data = cluster.path().join("data");
        std::fs::create_dir(&data).expect("a directory");
        if is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(&data).status();
            assert!(owned.await.expect("chown is there").success());
        }
        let mut initdb = as_database("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        initdb.args(["--locale=C.UTF-8", "--no-sync"]);
        let made = initdb.output().await.expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        let mut server = Self {
            port: 0,
            child: None,
            cluster,
        };
        // Somebody else may take the port first.
        for _ in 0..3 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            server.port = free.local_addr().expect("an address").port();
            drop(free);
            if server.run().await {
                return server;
            }
        }
        panic!("{}", server.log());
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The same database through a proxy.
    pub fn url_at(address: std::net::SocketAddr) -> String {
        format!("postgres://postgres@{address}/postgres")
    }

    pub async fn connect(&self) -> PgConnection {
        let connecting = timeout(PATIENCE, PgConnection::connect(&self.url())).await;
        connecting.expect("in time").expect("it runs")
    }

    /// Waits until it has ended.
    pub async fn stop(&mut self, halt: Halt) {
        let mut child = self.child.take().expect("it runs");
        let signal = match halt {
            Halt::Fast => "INT",
            Halt::Immediate => "QUIT",
        };
        let id = child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.await.expect("kill is there").success());
        let ended = timeout(PATIENCE, child.wait()).await;
        ended.expect("it ends in time").expect("its status");
    }

    /// On the same port, with what it had; waits until it takes connections.
    pub async fn start_again(&mut self) {
        assert!(self.run().await, "{}", self.log());
    }

    /// False when it ended instead of taking connections.
    async fn run(&mut self) -> bool {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let mut command = as_database("postgres");
        command.arg("-D").arg(self.cluster.path().join("data"));
        let port = format!("port={}", self.port);
        for option in [
            "listen_addresses=127.0.0.1",
            &port,
            "unix_socket_directories=",
            "max_connections=100",
            "fsync=off",
            "full_page_writes=off",
        ] {
            command.args(["-c", option]);
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        let mut child = child.expect("postgres starts");
        let patient_until = Instant::now() + PATIENCE;
        while PgConnection::connect(&self.url()).await.is_err() {
            if child.try_wait().expect("its status").is_some() {
                return false;
            }
            assert!(Instant::now() < patient_until, "{}", self.log());
        }
        self.child = Some(child);
        true
    }

    fn log_path(&self) -> PathBuf {
        self.cluster.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Killed, its processes would hold the directory for a moment that nobody waits for.
        if let Some(id) = self.child.as_ref().and_then(Child::id) {
            let id = id.to_string();
            let _ = std::process::Command::new("kill")
                .args(["-s", "QUIT", &id])
                .status();
            while matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None))) {
                std::thread::yield_now();
            }
        }
    }
}

fn is_root() -> bool {
    own_user() == Some(0)
}

/// The user this runs as.
fn own_user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|own| own.uid())
}

/// A program of Postgres; it refuses to run as root.
fn as_database(program: &str) -> Command {
    let program = installed(program);
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        command.arg(program);
    } else {
        command = Command::new(program);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Debian keeps it beside other versions and out of `PATH`.
fn installed(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let mut versions: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(program))
        .filter(|program| program.exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .unwrap_or_else(|| Path::new(program).to_owned())
}
