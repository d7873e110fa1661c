//! `tasker task wait`

use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::outcome;
use super::report::describe_task;
use crate::cli::output::note;
use crate::cli::time::parse_duration;
use crate::cli::{Exit, Failure, Global};
use crate::protocol::TaskWaited;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    /// Wait at most this long, for example 30s, 5m [default: for ever]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    limit: Option<Duration>,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let waited = global.connect()?.wait_for_task(self.task, self.limit)?;
        global.output.print(&waited, || describe_task(&waited.task))?;
        Ok(end(&waited))
    }
}

/// The exit code that tells how the wait ended.
pub(super) fn end(waited: &TaskWaited) -> Exit {
    if waited.finished {
        return outcome(&waited.task.state);
    }
    note(&format!("time is up: the task is still {}", waited.task.state));
    Exit::TimeIsUp
}
