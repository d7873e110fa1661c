//! `tasker namespace list|pause|resume`

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::input::Signature;
use super::output::{Table, note, one_line, or_dash, print};
use super::time::format_ms;
use super::{Exit, Failure, Global};
use crate::protocol::{ListNamespaces, NamespaceChanged, NamespaceSummary, PauseNamespace, ResumeNamespace};

/// Characters of a reason that a row shows.
const REASON_CHARS_MAX: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List namespaces: what waits in them, who serves them, and which are paused
    List,
    /// Hand out no step of a namespace until it is resumed; tasks are taken, and what runs goes on
    Pause(Arguments),
    /// Hand out the steps of a paused namespace again
    Resume(Arguments),
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The namespace
    namespace: String,
    #[command(flatten)]
    signature: Signature,
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let correlation_id = Uuid::nil();
        let changed = match self {
            Command::List => return list(global),
            Command::Pause(Arguments { namespace, signature: Signature { actor, reason } }) => {
                global.connect()?.request(PauseNamespace { correlation_id, namespace, actor, reason })?
            }
            Command::Resume(Arguments { namespace, signature: Signature { actor, reason } }) => {
                global.connect()?.request(ResumeNamespace { correlation_id, namespace, actor, reason })?
            }
        };
        global.output.print_for_programs(&changed)?;
        tell(&changed);
        Ok(Exit::Done)
    }
}

fn list(global: &Global) -> Result<Exit, Failure> {
    let list = global.connect()?.request(ListNamespaces { correlation_id: Uuid::nil() })?;
    if global.output.is_for_programs() {
        global.output.print_list(&list, &list.namespaces, String::new)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        "NAMESPACE",
        "STATE",
        "TASKS",
        "READY",
        "RUNNING",
        "WAITING",
        "WORKERS",
        "TEMPLATES",
        "PAUSED BY",
        "SINCE",
        "REASON",
    ]);
    for namespace in &list.namespaces {
        table.row([
            namespace.name.clone(),
            if namespace.paused { "paused" } else { "active" }.to_owned(),
            namespace.tasks.to_string(),
            namespace.steps_ready.to_string(),
            namespace.steps_in_progress.to_string(),
            namespace.steps_waiting.to_string(),
            namespace.workers.to_string(),
            namespace.templates.to_string(),
            or_dash(namespace.paused_by.as_deref().filter(|actor| !actor.is_empty())),
            or_dash(namespace.paused_at_ms.map(format_ms)),
            or_dash(
                namespace.reason.as_deref().filter(|why| !why.is_empty()).map(|why| one_line(why, REASON_CHARS_MAX)),
            ),
        ]);
    }
    print(&table.render())?;
    if list.namespaces.is_empty() {
        note("no template is registered, and no namespace is paused");
    }
    Ok(Exit::Done)
}

fn tell(changed: &NamespaceChanged) {
    let NamespaceSummary { name, paused, steps_ready, steps_in_progress, templates, .. } = &changed.namespace;
    let state = if *paused { "paused" } else { "active" };
    if changed.changed && *paused {
        note(&format!("{name} is {state}; {steps_in_progress} steps still run, {steps_ready} ready ones wait"));
    } else if changed.changed {
        note(&format!("{name} is {state} again"));
    } else {
        note(&format!("{name} is {state} already; nothing was done"));
    }
    if *templates == 0 {
        note(&format!("no template of {name} is registered: is the name right?"));
    }
}
