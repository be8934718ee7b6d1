//! The spool's files: written so that they are wholly there or not at all. Everything here blocks.

use crate::text::with_causes;
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A number that a file may have as its name.
const DIGITS: usize = 20;

/// Numbers rise, so names sort as they were written.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:0DIGITS$}")
}

/// `None` for what no entry is called. The last number is nobody's: the next one after it would not exist.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let is_number = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| name.parse().ok())??;
    (number < u64::MAX).then_some(number)
}

/// Creates a directory for the owner alone, and its place in its parent durably, unless it is there.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Durable when it returns `Ok`. After an error the file is not there, as far as the disk can still be told.
pub(super) fn write(directory: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let path = directory.join(name_of(number));
    let new = new_path(directory, number);
    let written = write_and_sync(&new, bytes)
        .and_then(|()| fs::rename(&new, &path))
        .and_then(|()| sync_directory(directory));
    if written.is_err() {
        // At most one of the two is there. What cannot be removed now is no entry: an unfinished file is removed at the next start,
        // and an entry that comes twice is taken once.
        let _ = fs::remove_file(&new);
        let _ = fs::remove_file(&path);
    }
    written
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn new_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{}.new", name_of(number)))
}

/// Numbers and sizes of the entries in a directory, in no order. Removes what was not finished, and says what is not the spool's.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let known = file.metadata()?;
        let stem = name.strip_suffix(".new");
        match number_of(stem.unwrap_or(&name)) {
            Some(_) if stem.is_some() => {
                if let Err(error) = fs::remove_file(file.path()) {
                    let error = with_causes(&error);
                    tracing::warn!(file = name, error, "an unfinished file stays in the spool");
                }
            }
            // A directory too: its number is taken, and what it is will be found out by whoever reads it.
            Some(number) => entries.push((number, known.len())),
            None if known.is_dir() => {}
            None => tracing::warn!(file = name, "a file in the spool that is not the spool's"),
        }
    }
    Ok(entries)
}

/// At most `bytes_at_most` of it and one: whoever reads more than that knows that the file is too large.
pub(super) fn read(path: &Path, bytes_at_most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_at_most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// True when the same call may succeed later: the machine lacks descriptors or memory, the file is as good as before.
pub(super) fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory};
    // ENFILE and EMFILE, which have no kind.
    matches!(error.kind(), Interrupted | OutOfMemory)
        || matches!(error.raw_os_error(), Some(23 | 24))
}
