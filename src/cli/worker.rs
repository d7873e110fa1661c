//! `tasker worker list|drain`

use clap::Subcommand;
use uuid::Uuid;

use super::input::Signature;
use super::output::{Table, note, print};
use super::time::format_us;
use super::{Exit, Failure, Global};
use crate::protocol::{DrainWorker, ListWorkers};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the registered workers
    List,
    /// Let a worker finish what it has, and leave
    Drain {
        /// The worker's name
        worker: String,
        #[command(flatten)]
        signature: Signature,
    },
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Command::List => list(global),
            Command::Drain { worker, signature } => drain(global, worker, signature),
        }
    }
}

fn drain(global: &Global, worker: String, signature: Signature) -> Result<Exit, Failure> {
    let Signature { actor, reason } = signature;
    let command = DrainWorker { correlation_id: Uuid::nil(), worker, actor, reason };
    let draining = global.connect()?.request(command)?;
    global.output.print_for_programs(&draining)?;
    let already = if draining.changed { "" } else { " already" };
    note(&format!("{} is leaving{already}; it has {} steps to finish", draining.worker, draining.in_flight));
    Ok(Exit::Done)
}

fn list(global: &Global) -> Result<Exit, Failure> {
    let list = global.connect()?.request(ListWorkers { correlation_id: Uuid::nil() })?;
    if global.output.is_for_programs() {
        global.output.print_list(&list, &list.workers, String::new)?;
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(&["NAME", "STATE", "BUSY", "BATCHES", "SEEN", "HOST", "PID", "LANGUAGE", "LIBRARY", "TEMPLATES"]);
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
