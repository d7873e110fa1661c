//! What the stories and the chaos rounds share: a stage with a broker on a database of its own, Ruby workers, and gates at which handlers wait.

#![allow(dead_code, unused_imports, reason = "the stories and the chaos rounds each use their own part")]

mod database;
mod gate;
mod process;
mod ruby;
mod stage;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use database::Database;
pub use gate::Gate;
pub use process::{BrokerProcess, broker_command};
pub use ruby::{Log, RubyWorker, Serves, dies_with_us, gem, worker_command};
pub use stage::{HANDLERS, Stage, connect, request, task, worker_at};

/// Longer than anything that works takes, on a machine that is busy with other things: a guard against tests that hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Text of a file of the repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("failed to read {path}: {error}"))
}
