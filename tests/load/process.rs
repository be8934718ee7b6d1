//! The servers under test, as child processes that end with their handle, and what they cost.

use crate::client::Target;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

pub struct Continuo {
    process: Child,
    target: Target,
    _data: TempDir,
}

impl Continuo {
    /// The release build beside this program, with an upstream of ours.
    pub fn start(upstream: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let binary = std::env::current_exe().unwrap();
        let binary = binary
            .parent()
            .and_then(|examples| examples.parent())
            .unwrap()
            .join("continuo");
        assert!(binary.exists(), "build it first: cargo build --release");
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&binary);
            command
                .args(arguments)
                .arg("--data-dir")
                .arg(data.path())
                .args(["--upstream-url", upstream, "--bind", "127.0.0.1:0"])
                .env("CONTINUO__LIMITS__EMITTERS_PER_USER", "100000")
                .env("CONTINUO__LIMITS__GENERATIONS_PER_USER", "1000")
                .env("CONTINUO__UPSTREAM__MODEL", "paced")
                .env("CONTINUO__TITLES__ENABLED", "false")
                .stderr(fs::File::create(data.path().join("log")).unwrap());
            command
        };
        let mut process = command(&[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let (mut line, mut login) = (String::new(), String::new());
        lines.read_line(&mut line).unwrap();
        lines.read_line(&mut login).unwrap();
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .expect("`listening on http://ADDRESS`");
        let key = String::from_utf8(command(&["key", "add"]).output().unwrap().stdout).unwrap();
        Self {
            process,
            target: Target {
                port,
                key: Some(key.trim().to_owned()),
            },
            _data: data,
        }
    }

    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Starts an answer; the path of its events.
    pub async fn ask(&self) -> String {
        let conversation = self.target.json("POST", "/api/conversations", "").await;
        let path = format!(
            "/api/conversations/{}/messages",
            conversation["id"].as_str().unwrap()
        );
        let turn = self.target.json("POST", &path, r#"{"content":"go"}"#).await;
        format!(
            "/api/generations/{}/events",
            turn["generation_id"].as_str().unwrap()
        )
    }

    pub async fn emitters(&self) -> u64 {
        self.list().await["total"].as_u64().unwrap()
    }

    pub async fn closed_reasons(&self) -> String {
        self.list().await["closed"].to_string()
    }

    /// What an operator sees of live connections, with one row at most.
    pub async fn list(&self) -> Value {
        self.target
            .json("GET", "/api/operator/emitters?limit=1", "")
            .await
    }

    pub fn resident_kib(&self) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn processor_nanos(&self) -> u64 {
        processor_nanos(self.process.id())
    }
}

impl Drop for Continuo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Nginx {
    process: Child,
    port: u16,
    _data: TempDir,
}

impl Nginx {
    /// Passes everything on to an upstream, unbuffered, with as many workers as there are processors.
    pub async fn start(upstream: u16) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let path = data.path().display();
        let configuration = format!(
            "daemon off; worker_processes auto; pid {path}/pid; error_log {path}/error.log;
             events {{ worker_connections 4096; }}
             http {{
               access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f;
               uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
               upstream model {{ server 127.0.0.1:{upstream}; keepalive 64; }}
               server {{
                 listen 127.0.0.1:{port};
                 location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; tcp_nodelay on; }}
               }}
             }}"
        );
        let file: PathBuf = data.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        // Its workers are other users when root starts it.
        let _ = Command::new("chmod")
            .args(["-R", "a+rwx"])
            .arg(data.path())
            .status();
        let binary = ["/usr/sbin/nginx", "nginx"]
            .into_iter()
            .find(|binary| Command::new(binary).arg("-v").output().is_ok());
        let binary = binary.expect("nginx is installed (Debian: apt-get install nginx-light)");
        let process = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
        Self {
            process,
            port,
            _data: data,
        }
    }

    pub fn target(&self) -> Target {
        Target::direct(self.port)
    }

    /// Of its workers.
    pub fn processor_nanos(&self) -> u64 {
        let master = self.process.id();
        let children =
            fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
        children
            .split_whitespace()
            .map(|child| processor_nanos(child.parse().unwrap()))
            .sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM, not when it is killed.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ = self.process.wait();
    }
}

/// Time on a processor of all threads, from the scheduler's own count.
fn processor_nanos(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let on_processor = |thread: fs::DirEntry| {
        let counts = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        counts.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(on_processor).sum()
}
