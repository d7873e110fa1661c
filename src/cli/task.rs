//! `tasker task ...`

mod cancel;
mod list;
mod report;
mod retry;
mod status;
mod submit;
mod tree;
mod wait;
mod watch;
mod why;

use clap::Subcommand;

use super::{Exit, Failure, Global};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Submit a task; prints its id
    Submit(Box<submit::Arguments>),
    /// Show the state of a task
    Status(status::Arguments),
    /// Draw the steps of a task: what depends on what, and how far it is
    Tree(tree::Arguments),
    /// List tasks, newest first
    List(list::Arguments),
    /// Wait until a task has ended; the exit code tells how
    Wait(wait::Arguments),
    /// Follow a task live until it has ended; the exit code tells how
    Watch(watch::Arguments),
    /// Cancel a task: running steps are told to stop, waiting ones never start
    Cancel(cancel::Arguments),
    /// Give the failed steps of a task new attempts
    Retry(retry::Arguments),
    /// Say why steps of a task do not run
    Why(why::Arguments),
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Command::Submit(arguments) => arguments.run(global),
            Command::Status(arguments) => arguments.run(global),
            Command::Tree(arguments) => arguments.run(global),
            Command::List(arguments) => arguments.run(global),
            Command::Wait(arguments) => arguments.run(global),
            Command::Watch(arguments) => arguments.run(global),
            Command::Cancel(arguments) => arguments.run(global),
            Command::Retry(arguments) => arguments.run(global),
            Command::Why(arguments) => arguments.run(global),
        }
    }
}

/// Whether a task in this state has ended for now. An operator can reset one in `error`.
fn is_ended(state: &str) -> bool {
    matches!(state, "complete" | "error" | "cancelled" | "resolved_manually")
}

/// The exit code that tells how a task ended.
fn outcome(state: &str) -> Exit {
    match state {
        "complete" | "resolved_manually" => Exit::Done,
        _ => Exit::Unsuccessful,
    }
}
