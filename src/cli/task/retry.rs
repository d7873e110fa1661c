//! `tasker task retry`

use clap::Args;
use uuid::Uuid;

use crate::cli::input::Signature;
use crate::cli::output::note;
use crate::cli::{Exit, Failure, Global};
use crate::protocol::RetryTask;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    /// Only this step; may be repeated [default: all in error]
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<String>,
    #[command(flatten)]
    signature: Signature,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Signature { actor, reason } = self.signature;
        let command = RetryTask { correlation_id: Uuid::nil(), task_id: self.task, steps: self.steps, actor, reason };
        let retried = global.connect()?.request(command)?;
        global.output.print(&retried, || {
            note(&format!("{} steps have new attempts:", retried.steps.len()));
            retried.steps.iter().map(|step| format!("{step}\n")).collect()
        })?;
        Ok(Exit::Done)
    }
}
