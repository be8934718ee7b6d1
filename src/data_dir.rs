//! The data directory: one process at a time, and what outlives it: the node's id, the database, the address of the running server.

use crate::model::NodeId;
use anyhow::{Context as _, bail};
use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A directory that may be shared: for commands beside a running server.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// The directory of a running server: locked as long as this lives.
#[derive(Debug)]
pub struct LockedDataDir {
    dir: DataDir,
    _lock: File,
}

impl DataDir {
    /// Opens it, creating it for the owner alone when it is missing. An empty path is `$XDG_DATA_HOME/continuo`.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = if path.as_os_str().is_empty() {
            default_path()?
        } else {
            path.to_owned()
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| {
                format!(
                    "cannot create the data directory {}; choose another with --data-dir",
                    path.display()
                )
            })?;
        Ok(Self { path })
    }

    /// Fails when another process has it.
    pub fn lock(self) -> anyhow::Result<LockedDataDir> {
        let path = self.path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| {
                format!(
                    "cannot write to the data directory {}; choose another with --data-dir",
                    self.path.display()
                )
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(LockedDataDir {
                dir: self,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "the data directory {} is in use by another server; stop that one or choose another with --data-dir",
                self.path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The database's URL when none is configured.
    pub fn sqlite_url(&self) -> String {
        // In a URL these would begin a query, a fragment or an escape.
        let path = self.path.join("continuo.sqlite3").display().to_string();
        let path = path
            .replace('%', "%25")
            .replace('?', "%3f")
            .replace('#', "%23");
        format!("sqlite://{path}")
    }

    /// Where the server that runs here listens, such as `http://127.0.0.1:8080`; `None` when none ever did.
    pub fn origin(&self) -> Option<String> {
        fs::read_to_string(self.path.join("origin"))
            .ok()
            .map(|origin| origin.trim().to_owned())
    }
}

impl LockedDataDir {
    /// This node's id, made at the first start.
    pub fn node(&self) -> anyhow::Result<NodeId> {
        let path = self.dir.path.join("node");
        match fs::read_to_string(&path) {
            Ok(id) => id
                .trim()
                .parse()
                .with_context(|| format!("{} is not a node's id; remove the file", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let node = NodeId::new();
                self.write("node", &node.to_string())?;
                Ok(node)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// What waits for the database.
    pub fn spool(&self) -> PathBuf {
        self.dir.path.join("spool")
    }

    /// Tells commands beside this server where it listens.
    pub fn set_origin(&self, origin: &str) -> anyhow::Result<()> {
        self.write("origin", origin)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.path.join(name);
        let new = self.dir.path.join(format!("{name}.new"));
        let write = || {
            let mut file = File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn default_path() -> anyhow::Result<PathBuf> {
    let home = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = home("XDG_DATA_HOME").or_else(|| Some(home("HOME")?.join(".local/share")));
    Ok(data
        .context("neither XDG_DATA_HOME nor HOME is set; choose a directory with --data-dir")?
        .join("continuo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_for_one_server_and_keeps_its_node() {
        let temporary = tempfile::tempdir().expect("a directory");
        let path = temporary.path().join("new");
        let open = || DataDir::open(&path).expect("opened");
        let locked = open().lock().expect("the first");
        let node = locked.node().expect("an id");
        let error = open().lock().expect_err("the second").to_string();
        assert!(error.contains("in use"), "{error}");
        locked.set_origin("http://127.0.0.1:1").expect("written");
        assert_eq!(open().origin().as_deref(), Some("http://127.0.0.1:1"));
        drop(locked);
        assert_eq!(
            open().lock().expect("free again").node().expect("an id"),
            node
        );
    }
}
