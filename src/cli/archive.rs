//! `tasker archive`: looks into files of tasks that have left the database.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use uuid::Uuid;

use super::output::{Table, note, print, print_json};
use super::{Exit, Failure, Format, Global};
use crate::archive::{Error, check, lines};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the tasks of a file, or print all that there is of one
    #[command(after_help = "\
Examples:
  tasker archive show tasks-2026-01-001.jsonl.gz
  tasker archive show tasks-2026-01-001.jsonl.gz 01980000-0000-7000-8000-000000000000
  zcat tasks-2026-01-001.jsonl.gz | jq 'select(.state == \"error\")'")]
    Show {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The task's id
        #[arg(value_name = "TASK")]
        task: Option<Uuid>,
    },
    /// Compare a file with its manifest
    #[command(after_help = "Examples:\n  tasker archive check tasks-2026-01-001.jsonl.gz")]
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
                let mut table = Table::new(&["TASK", "TEMPLATE", "STATE", "CREATED", "FINISHED"]);
                let mut rows = Vec::new();
                for line in lines(file)? {
                    let task = parse(&line?)?;
                    rows.push(
                        ["task_id", "template", "state", "created_at", "finished_at"].map(|name| field(&task, name)),
                    );
                }
                if global.output == Format::Json {
                    print_json(&rows)?;
                } else {
                    rows.into_iter().for_each(|row| table.row(row));
                    print(&table.render())?;
                }
                Ok(Exit::Done)
            }
            Command::Check { file } => {
                let manifest = check(file)?;
                if global.output == Format::Json {
                    print_json(&manifest)?;
                }
                note(&format!("complete: {} tasks of {} from {}", manifest.tasks, manifest.month, manifest.database));
                Ok(Exit::Done)
            }
        }
    }
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
