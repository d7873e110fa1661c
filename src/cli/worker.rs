//! `tasker worker list`

use clap::Subcommand;
use uuid::Uuid;

use super::output::{Table, note, print, print_json};
use super::time::format_us;
use super::{Exit, Failure, Format, Global};
use crate::protocol::ListWorkers;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the registered workers
    List,
}

impl Command {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let Command::List = self;
        let list = global.connect()?.request(ListWorkers { correlation_id: Uuid::nil() })?;
        if global.output == Format::Json {
            print_json(&list)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&[
            "NAME",
            "STATE",
            "BUSY",
            "BATCHES",
            "SEEN",
            "HOST",
            "PID",
            "LANGUAGE",
            "LIBRARY",
            "TEMPLATES",
        ]);
        for worker in &list.workers {
            table.row([
                worker.name.clone(),
                worker.state.clone(),
                format!("{}/{}", worker.in_flight, worker.concurrency),
                worker.batches.to_string(),
                format!("{} ago", format_us(worker.seen_ms_ago.saturating_mul(1_000))),
                worker.host.clone(),
                worker.pid.to_string(),
                worker.language.clone(),
                worker.library.clone(),
                worker.templates.join(" "),
            ]);
        }
        print(&table.render())?;
        if list.workers.is_empty() {
            note("no worker is registered");
        }
        Ok(Exit::Done)
    }
}
