//! `tasker step resolve`

use clap::Subcommand;
use uuid::Uuid;

use super::input::{Signature, read_json};
use super::output::note;
use super::{Exit, Failure, Global};
use crate::protocol::ResolveStep;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Settle a step by hand: it counts as done, and its children receive the result given here
    Resolve {
        /// The task
        task: Uuid,
        /// The step's name
        step: String,
        /// The result: JSON, a file, or - for standard input [default: null]
        #[arg(long, value_name = "FILE|-|JSON")]
        result: Option<String>,
        #[command(flatten)]
        signature: Signature,
    },
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Command::Resolve { task, step, result, signature } = self;
        let result = result.as_deref().map(read_json).transpose()?;
        let Signature { actor, reason } = signature;
        let command = ResolveStep { correlation_id: Uuid::nil(), task_id: task, step, result, actor, reason };
        let resolved = global.connect()?.request(command)?;
        global.output.print(&resolved, || {
            note(&format!("{} is resolved; state of the task:", resolved.step));
            format!("{}\n", resolved.task_state)
        })?;
        Ok(Exit::Done)
    }
}
