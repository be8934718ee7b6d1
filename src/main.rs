//! The command line.

#[path = "main/commands.rs"]
mod commands;
#[path = "main/limits.rs"]
mod limits;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use commands::{KeyCommand, SessionCommand, UserCommand, find_user};
use continuo::{
    auth,
    config::{Config, Layers, has_password},
    data_dir::DataDir,
    demo,
    server::{self, Shutdown},
    store::Store,
    telemetry,
};
use mimalloc::MiMalloc;
use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// Gives memory back after a crowd has left; glibc's would keep what the crowd needed at its height.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A chat server whose answers belong to the server, not to the connection.
///
/// Without a command it serves: SQLite in the data directory and a built-in demo model unless configured otherwise.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
struct Options {
    /// A TOML file in the shape of `continuo config --defaults`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Where the database, the node's id and the lock are [default: `$XDG_DATA_HOME/continuo`]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// postgres://… or sqlite://…
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Base URL of an OpenAI-compatible server, with /v1
    #[arg(long, global = true, value_name = "URL")]
    upstream_url: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Print a new one-time login link, beside a running server too
    Login {
        /// Whose; the owner's unless named
        #[arg(value_name = "USER")]
        user: Option<String>,
    },
    /// Accounts
    #[command(subcommand)]
    User(UserCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Logins of browsers
    #[command(subcommand)]
    Session(SessionCommand),
    /// Serve the demo model alone
    DemoUpstream,
    /// Print the configuration in force and where each value comes from
    Config {
        /// Print the commented defaults instead
        #[arg(long)]
        defaults: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line that helps: what was attempted, then why it failed.
            let error = format!("{error:#}");
            let words: Vec<_> = error.split_whitespace().collect();
            eprintln!("continuo: {}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { options, command } = arguments;
    let layers = options.layers()?;
    match command {
        None => serve(layers.finish()?, &options).await,
        Some(Command::Config { defaults: true }) => print(continuo::config::DEFAULTS.trim_end()),
        Some(Command::Config { defaults: false }) => {
            let described = layers.describe();
            layers.finish()?;
            print(described.trim_end())
        }
        Some(Command::DemoUpstream) => serve_demo(layers.finish()?.server.bind).await,
        Some(Command::Login { user }) => {
            let (config, data_dir, store) = open(layers).await?;
            let user = find_user(&*store, user.as_deref()).await?;
            if user.disabled {
                bail!(
                    "the user {:?} is disabled; `continuo user disable --undo` lets it in again",
                    user.name
                );
            }
            let origin = data_dir.origin().unwrap_or_else(|| {
                let is_tls = !config.server.tls_cert.as_os_str().is_empty();
                server::origin(config.server.bind, is_tls)
            });
            print(&auth::login_link(&*store, user.id, &origin).await?)
        }
        Some(Command::User(command)) => command.run(&*open(layers).await?.2).await,
        Some(Command::Key(command)) => command.run(&*open(layers).await?.2).await,
        Some(Command::Session(command)) => {
            let (config, _, store) = open(layers).await?;
            command.run(&*store, config.auth.idle).await
        }
    }
}

impl Options {
    fn layers(&self) -> anyhow::Result<Layers> {
        let mut layers = Layers::default();
        if let Some(file) = &self.config {
            layers.file(file)?;
        }
        // Others' variables may be anything; ours are refused as they are when they are no text.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        });
        layers.environment(variables);
        for (flag, key, value) in [
            ("--bind", "server.bind", &self.bind),
            ("--data-dir", "server.data_dir", &self.data_dir),
            ("--database-url", "store.url", &self.database_url),
            ("--upstream-url", "upstream.url", &self.upstream_url),
        ] {
            if let Some(value) = value {
                layers.flag(flag, key, value);
            }
        }
        Ok(layers)
    }

    fn warn_of_passwords(&self) {
        for (flag, url, variable) in [
            ("--database-url", &self.database_url, "DATABASE_URL"),
            ("--upstream-url", &self.upstream_url, "OPENAI_BASE_URL"),
        ] {
            if url.as_deref().is_some_and(has_password) {
                tracing::warn!(
                    "the password in {flag} is in the list of processes, for everybody on this machine to read; {variable} in the \
                     environment is for this user only"
                );
            }
        }
    }
}

async fn serve(config: Config, options: &Options) -> anyhow::Result<()> {
    let shutdown = Shutdown::default();
    let server = server::build(config).await?;
    options.warn_of_passwords();
    // Not before: until something runs there is nothing to end in order.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    for line in [
        format!("listening on {}", server.origin()),
        server.login_link().await?,
    ] {
        if let Err(error) = print(&line) {
            // Nobody reads it, as behind `| head -1`; that is no reason not to serve.
            tracing::warn!(error = &*error, "`continuo login` prints another link");
        }
    }
    let signals = async {
        for token in [&shutdown.drain, &shutdown.hurry] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
        // Two are enough; a third changes nothing.
        std::future::pending::<()>().await;
    };
    let tls = server.tls();
    let reloads = async {
        // Without TLS the signal ends the process, as it does by default.
        let Some(tls) = tls else {
            return std::future::pending().await;
        };
        let mut hang_up = signal(SignalKind::hangup())?;
        while hang_up.recv().await.is_some() {
            tls.reload();
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = server.run(shutdown.clone()) => ended,
        () = signals => Ok(()),
        ended = reloads => ended,
    }
}

async fn serve_demo(bind: SocketAddr) -> anyhow::Result<()> {
    let demo = demo::start(bind)
        .with_context(|| format!("cannot listen on {bind}; choose another address with --bind"))?;
    print(&format!("listening on {}", demo.base_url()))?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        ended = demo.run() => Ok(ended?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn open(layers: Layers) -> anyhow::Result<(Config, DataDir, Arc<dyn Store>)> {
    let config = layers.finish()?;
    let data_dir = DataDir::open(&config.server.data_dir)?;
    let store = server::open_store(&config, &data_dir).await?;
    Ok((config, data_dir, store))
}

/// To standard output; a closed pipe is an error, not a panic.
fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
