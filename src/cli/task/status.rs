//! `tasker task status`

use clap::Args;
use uuid::Uuid;

use super::report::{JsonReport, describe};
use crate::cli::{Exit, Failure, Global};
use crate::protocol::{TaskStatus, TaskStatusReport};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    /// List the steps
    #[arg(long)]
    steps: bool,
    /// List the steps with their results; --results=STEP,... for some of them only
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, value_delimiter = ',')]
    #[arg(default_missing_value = "*")]
    results: Vec<String>,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let command = TaskStatus {
            correlation_id: Uuid::nil(),
            task_id: self.task,
            include_steps: self.steps || !self.results.is_empty(),
            include_results: self.results,
        };
        let report = global.connect()?.request(command)?;
        show(global, &report)?;
        Ok(Exit::Done)
    }
}

/// Prints a report in the format asked for.
pub(super) fn show(global: &Global, report: &TaskStatusReport) -> Result<(), Failure> {
    Ok(global.output.print(&JsonReport::new(report), || describe(report))?)
}
