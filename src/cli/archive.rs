//! `tasker archive`: looks into files of tasks that have left the database.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::output::{Table, note, print};
use super::{Exit, Failure, Global};
use crate::archive::{Error, check, lines};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the tasks of a file, or print all that there is of one
    Show {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The task's id
        #[arg(value_name = "TASK")]
        task: Option<Uuid>,
    },
    /// Compare a file with its manifest
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Command::Show { file, task: Some(task) } => {
                let wanted = task.to_string();
                for line in lines(file)? {
                    let line = line?;
                    if field(&parse(&line)?, "task_id") == wanted {
                        // As it is in the file: payloads stay what they were.
                        print(&format!("{line}\n"))?;
                        return Ok(Exit::Done);
                    }
                }
                Err(Failure::new(Exit::Unsuccessful, format!("{} has no task {task}", file.display())))
            }
            Command::Show { file, task: None } => {
                let tasks =
                    lines(file)?.map(|line| Ok(Entry::of(&parse(&line?)?))).collect::<Result<Vec<_>, Failure>>()?;
                global.output.print_list(&tasks, &tasks, || list(&tasks))?;
                Ok(Exit::Done)
            }
            Command::Check { file } => {
                let manifest = check(file)?;
                global.output.print_for_programs(&manifest)?;
                note(&format!("complete: {} tasks of {} from {}", manifest.tasks, manifest.month, manifest.database));
                Ok(Exit::Done)
            }
        }
    }
}

/// A task in a list.
#[derive(Serialize)]
struct Entry {
    task_id: String,
    template: String,
    state: String,
    created_at: String,
    finished_at: String,
}

impl Entry {
    fn of(task: &Value) -> Entry {
        let [task_id, template, state, created_at, finished_at] =
            ["task_id", "template", "state", "created_at", "finished_at"].map(|name| field(task, name));
        Entry { task_id, template, state, created_at, finished_at }
    }
}

fn list(tasks: &[Entry]) -> String {
    let mut table = Table::new(&["TASK", "TEMPLATE", "STATE", "CREATED", "FINISHED"]);
    for Entry { task_id, template, state, created_at, finished_at } in tasks {
        table.row([task_id, template, state, created_at, finished_at].map(Clone::clone));
    }
    table.render()
}

fn parse(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line).map_err(|error| Failure::new(Exit::Unsuccessful, format!("a line is not JSON: {error}")))
}

fn field(task: &Value, name: &str) -> String {
    task[name].as_str().unwrap_or("-").to_owned()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(Exit::Unsuccessful, error.to_string())
    }
}
