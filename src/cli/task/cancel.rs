//! `tasker task cancel`

use clap::Args;
use uuid::Uuid;

use crate::cli::input::Signature;
use crate::cli::output::note;
use crate::cli::{Exit, Failure, Global};
use crate::protocol::CancelTask;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    #[command(flatten)]
    signature: Signature,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Signature { actor, reason } = self.signature;
        let command = CancelTask { correlation_id: Uuid::nil(), task_id: self.task, actor, reason };
        let cancelled = global.connect()?.request(command)?;
        global.output.print_for_programs(&cancelled)?;
        let (stopped, never) = (cancelled.steps_stopped, cancelled.steps_cancelled);
        note(&format!("the task is cancelled; {stopped} running steps are told to stop, {never} will never start"));
        Ok(Exit::Done)
    }
}
