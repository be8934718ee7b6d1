//! What test binaries share.

pub mod app;
pub mod database;
pub mod events;
pub mod fake_upstream;
pub mod process;
pub mod raw;

use std::time::Duration;

/// Longer than any step of a test takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
