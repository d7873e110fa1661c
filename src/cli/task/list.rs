//! `tasker task list`

use clap::Args;
use uuid::Uuid;

use crate::cli::output::{Table, note, print};
use crate::cli::time::{format_between, format_ms};
use crate::cli::{Exit, Failure, Global};
use crate::filter::{Filter, TaskState};
use crate::protocol::{ListTasks, TaskList};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// What to list: terms such as state:error, name:order, tag:vip, step:charge, since:1h, ctx.order.id:42 or text
    ///
    /// FILTERS.md has all terms. A term with quotes, or with - in front, is quoted for the shell together with another one, or
    /// stands after --.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Only tasks in this state (short for state:STATE)
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TaskState::NAMES))]
    state: Option<String>,
    /// Only tasks of this namespace (namespace:NAMESPACE)
    #[arg(long)]
    namespace: Option<String>,
    /// Only tasks of the template with this name (name:NAME)
    #[arg(long)]
    name: Option<String>,
    /// Only tasks with this tag (tag:TAG)
    #[arg(long)]
    tag: Option<String>,
    /// Only tasks older than this one: the next page
    #[arg(long, value_name = "TASK")]
    before: Option<Uuid>,
    /// Say how many tasks there are, up to 10,000
    #[arg(long)]
    count: bool,
    /// At most this many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Arguments { filter, state, namespace, name, tag, before, count, limit } = self;
        let filter = filter.join(" ");
        if let Err(error) = Filter::parse(&filter) {
            return Err(Failure::usage(error.to_string()).with_hint("FILTERS.md has all terms"));
        }
        let filter = Some(filter).filter(|filter| !filter.is_empty());
        let correlation_id = Uuid::nil();
        let command = ListTasks { correlation_id, state, namespace, name, tag, before, filter, count, limit };
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
        notes(&list);
        Ok(Exit::Done)
    }
}

/// What the table does not say: how many there are, and where to go on.
fn notes(list: &TaskList) {
    if let Some(count) = list.count {
        note(&format!("{count}{} tasks", if list.count_capped { "+" } else { "" }));
    }
    match (list.next, list.searched_back_to_ms) {
        (None, _) if list.tasks.is_empty() => note("no task matches"),
        (None, _) => {}
        (Some(next), None) => note(&format!("there are more: --before {next}")),
        (Some(next), Some(back)) => {
            let found = if list.tasks.is_empty() { "nothing" } else { "no more" };
            note(&format!("{found} among the tasks since {}; further back: --before {next}", format_ms(back)));
        }
    }
}
