//! What the stories have and these tests need.

#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../stories/support/database.rs"]
mod database;
#[path = "../stories/support/process.rs"]
mod process;
#[path = "../stories/support/ruby.rs"]
mod ruby;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use database::Database;
pub use process::BrokerProcess;
pub use ruby::{RubyWorker, Serves};

/// Longer than anything that works takes, on a machine that is busy with other things: a guard against tests that hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
