//! `tasker task why`

use clap::Args;
use uuid::Uuid;

use crate::cli::output::{Table, note, one_line, print};
use crate::cli::{Exit, Failure, Global};
use crate::protocol::{ExplainStep, ServingWorker, StepExplained};

/// Characters of a sentence that a row shows; one with an error's message may be long.
const MESSAGE_CHARS_MAX: usize = 200;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
    /// The step; all that wait, run, or ended in error when it is left out
    step: Option<String>,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let command = ExplainStep { correlation_id: Uuid::nil(), task_id: self.task, step: self.step };
        let explained = global.connect()?.request(command)?;
        if global.output.is_for_programs() {
            global.output.print_list(&explained, &explained.steps, String::new)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["STEP", "STATE", "REASON", "WHY"]);
        for step in &explained.steps {
            let message = one_line(&step.message, MESSAGE_CHARS_MAX);
            table.row([step.step.clone(), step.state.clone(), step.reason.clone(), message]);
        }
        print(&table.render())?;
        tell(&explained);
        Ok(Exit::Done)
    }
}

/// What is the same for all steps, as far as it keeps one of them.
fn tell(explained: &StepExplained) {
    if explained.steps.is_empty() {
        note(&format!("every step has a result; the task is {}", explained.task_state));
    }
    if explained.steps_left_off > 0 {
        note(&format!("{} further steps are left off", explained.steps_left_off));
    }
    if explained.steps.iter().any(|step| step.reason == "no_worker") {
        match &*explained.capabilities {
            [] => note("no worker is registered"),
            others => note(&format!("other workers serve {}", others.join(", "))),
        }
    }
    if explained.steps.iter().any(|step| step.reason == "no_credit") {
        let worker = |ServingWorker { name, state, in_flight, concurrency }: &ServingWorker| {
            format!("{name} ({state}, {in_flight}/{concurrency})")
        };
        let workers: Vec<String> = explained.workers.iter().map(worker).collect();
        note(&format!("{} is served by {}", explained.template, workers.join(", ")));
    }
}
