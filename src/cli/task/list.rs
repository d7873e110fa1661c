//! `tasker task list`

use clap::Args;
use uuid::Uuid;

use crate::cli::output::{Table, note, print};
use crate::cli::time::{format_between, format_ms};
use crate::cli::{Exit, Failure, Global};
use crate::protocol::ListTasks;

const STATES: [&str; 6] = ["pending", "in_progress", "complete", "error", "cancelled", "resolved_manually"];

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Only tasks in this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Only tasks of this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only tasks of the template with this name
    #[arg(long)]
    name: Option<String>,
    /// Only tasks with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only tasks older than this one: the next page
    #[arg(long, value_name = "TASK")]
    before: Option<Uuid>,
    /// At most this many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Arguments { state, namespace, name, tag, before, limit } = self;
        let command = ListTasks { correlation_id: Uuid::nil(), state, namespace, name, tag, before, limit };
        let list = global.connect()?.request(command)?;
        if global.output.is_for_programs() {
            global.output.print_list(&list, &list.tasks, String::new)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["TASK", "TEMPLATE", "STATE", "DONE", "CREATED", "DURATION"]);
        for task in &list.tasks {
            table.row([
                task.task_id.to_string(),
                format!("{}/{}@{}", task.namespace, task.name, task.version),
                task.state.clone(),
                format!("{:.0} %", task.completion_percentage),
                format_ms(task.created_at_ms),
                format_between(task.created_at_ms, task.finished_at_ms),
            ]);
        }
        print(&table.render())?;
        match list.tasks.last() {
            None => note("no task matches"),
            Some(last) if list.tasks.len() == limit as usize => {
                note(&format!("there may be more: --before {}", last.task_id));
            }
            Some(_) => {}
        }
        Ok(Exit::Done)
    }
}
