//! The saves of a group, sorted by table.
//!
//! One statement writes the group, and none of its parts sees what another part writes. What happens twice to one row
//! within a group (a task made and ended, a registration begun and ended) is therefore folded into one write here.

use std::collections::HashMap;

use tasker_engine::{
    AttemptFailed, BatchId, BatchState, Capability, Command, Difference, FleetActed, NewBatch, NewTask, OperatorAction,
    ReceivedResult, RegistrationId, Save, StepSettled, TaskId, TaskState, TemplateKey, TemplateSource,
    WorkerIntroduction,
};

use super::error::Error;

/// Rows by table.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    pub templates: Vec<&'a TemplateSource>,
    pub tasks: Vec<TaskRow<'a>>,
    /// Final states of tasks that are stored already; `None` makes one unfinished again.
    pub ended: Vec<(TaskId, Option<TaskState>)>,
    pub reopened: Vec<TaskId>,
    pub batches: Vec<&'a NewBatch>,
    pub closings: Vec<(BatchId, BatchState, Option<String>)>,
    pub settled: Vec<&'a StepSettled>,
    pub failed: Vec<&'a AttemptFailed>,
    pub returned: Vec<ReturnRow<'a>>,
    pub received: Vec<&'a ReceivedResult>,
    pub actions: Vec<&'a OperatorAction>,
    pub fleet_actions: Vec<&'a FleetActed>,
    pub registered: Vec<RegistrationRow<'a>>,
    pub unregistered: Vec<(RegistrationId, &'static str)>,
    pub commands: Vec<&'a Command>,
    pub inbox_taken: Vec<i64>,
    pub inbox_refused: Vec<(i64, &'a str)>,
}

/// A new task, with the state in which it ended if it did so at once.
#[derive(Debug)]
pub(super) struct TaskRow<'a> {
    pub task: &'a NewTask,
    pub ended: Option<TaskState>,
}

/// A step that came back.
#[derive(Debug)]
pub(super) struct ReturnRow<'a> {
    pub task: TaskId,
    pub step: u32,
    pub attempt: u32,
    pub batch: BatchId,
    pub reason: &'a str,
}

/// A registration, with its end if it ended at once.
#[derive(Debug)]
pub(super) struct RegistrationRow<'a> {
    pub registration: RegistrationId,
    pub worker: &'a WorkerIntroduction,
    pub ended: Option<&'static str>,
}

impl<'a> Rows<'a> {
    /// Sorts the saves.
    pub fn sort(saves: &'a [Save]) -> Rows<'a> {
        let mut rows = Rows::default();
        let mut ends = HashMap::new();
        for save in saves {
            match save {
                Save::Template(template) => rows.templates.push(template),
                Save::Task(task) => rows.tasks.push(TaskRow { task, ended: None }),
                Save::TaskFinished { task, state } => {
                    ends.insert(*task, Some(*state));
                }
                Save::TaskReopened { task } => {
                    ends.insert(*task, None);
                    rows.reopened.push(*task);
                }
                Save::Batch(batch) => rows.batches.push(batch),
                Save::BatchClosed { batch, state, differences } => {
                    rows.closings.push((*batch, *state, differences_json(differences)));
                }
                Save::StepSettled(settled) => rows.settled.push(settled),
                Save::AttemptFailed(failed) => rows.failed.push(failed),
                Save::StepReturned { task, step, attempt, batch, reason } => {
                    let row = ReturnRow { task: *task, step: *step, attempt: *attempt, batch: *batch, reason };
                    rows.returned.push(row);
                }
                Save::ResultReceived(received) => rows.received.push(received),
                Save::OperatorAction(action) => rows.actions.push(action),
                Save::FleetAction(acted) => rows.fleet_actions.push(acted),
                Save::WorkerRegistered { registration, worker } => {
                    let row = RegistrationRow { registration: *registration, worker, ended: None };
                    rows.registered.push(row);
                }
                Save::WorkerEnded { registration, reason } => rows.end_registration(*registration, reason),
                Save::Command(command) => rows.commands.push(command),
                Save::InboxTaken { row, refusal: None } => rows.inbox_taken.push(*row),
                Save::InboxTaken { row, refusal: Some(reason) } => rows.inbox_refused.push((*row, reason)),
            }
        }
        rows.fold_ends(ends);
        rows
    }

    fn end_registration(&mut self, registration: RegistrationId, reason: &'static str) {
        match self.registered.iter_mut().find(|row| row.registration == registration) {
            Some(row) => row.ended = Some(reason),
            None => self.unregistered.push((registration, reason)),
        }
    }

    fn fold_ends(&mut self, mut ends: HashMap<TaskId, Option<TaskState>>) {
        if ends.is_empty() {
            return;
        }
        for row in &mut self.tasks {
            if let Some(state) = ends.remove(&row.task.id) {
                row.ended = state;
            }
        }
        self.ended.extend(ends);
        // In order of id, which is the order of the index that finds them.
        self.ended.sort_unstable_by_key(|(task, _)| *task);
    }

    /// Rows that carry this group's lane and seq, as declared in `group_log`.
    pub fn count(&self) -> usize {
        self.tasks.len()
            + self.batches.len()
            + self.closings.len()
            + self.settled.len()
            + self.failed.len()
            + self.returned.len()
            + self.received.len()
            + self.actions.len()
            + self.fleet_actions.len()
            + self.registered.len()
            + self.commands.len()
    }

    /// The numbers under which the tasks' templates are stored.
    pub fn template_ids(&self, known: &HashMap<TemplateKey, i32>) -> Result<Vec<i32>, Error> {
        let number_of = |row: &TaskRow<'_>| {
            let key = &row.task.template.key;
            known.get(key).copied().ok_or_else(|| Error::Refused {
                sqlstate: "23503".into(),
                message: format!("task {} needs the template {key}, which is not stored", row.task.id),
                constraint: None,
            })
        };
        self.tasks.iter().map(number_of).collect()
    }
}

fn differences_json(differences: &[Difference]) -> Option<String> {
    if differences.is_empty() {
        return None;
    }
    let row = |difference: &Difference| {
        serde_json::json!({
            "task_id": difference.task.0,
            "step": &*difference.step,
            "attempt": difference.attempt,
            "completion": difference.completion,
            "recorded": difference.recorded,
        })
    };
    Some(serde_json::Value::Array(differences.iter().map(row).collect()).to_string())
}

/// A capability as columns: namespace, name, version.
pub(super) fn capability_columns(capability: &Capability) -> (&str, Option<&str>, Option<&str>) {
    match capability {
        Capability::Exact(key) => (&key.namespace, Some(&key.name), Some(&key.version)),
        Capability::AnyVersion(namespace, name) => (namespace, Some(name), None),
        Capability::Namespace(namespace) => (namespace, None, None),
    }
}
