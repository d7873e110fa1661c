//! What happened, in the words of a scenario.

use std::fmt::Write;
use std::sync::Arc;

use tasker_engine::*;

use crate::script::{Held, Stage};
use crate::world::Released;

impl Stage {
    pub fn show(&mut self, name: &str) -> String {
        let Some(report) = self.world.report(self.task(name)) else { return format!("{name} is not live") };
        let mut text = format!("{name} is {}:", report.state.as_str());
        for step in report.steps {
            write!(text, " {}={}", step.name, step.state.as_str()).expect("into a string");
            if let Some(progress) = step.progress {
                write!(text, "@{}", String::from_utf8_lossy(&progress)).expect("into a string");
            }
        }
        text
    }

    pub fn tell(&mut self, released: Released, said: &mut Vec<String>) {
        for save in &released.saves {
            if let Save::Batch(batch) = save {
                self.batches.push(batch.id);
            }
        }
        // Names first: a reply gives the names that saves are told with.
        for delivery in &released.deliveries {
            if let Deliver::Reply { reply: Reply::TasksInitialized(rows), .. } = delivery {
                let names: Vec<String> = self.submitted.drain(..rows.len()).collect();
                for (row, name) in rows.iter().zip(names) {
                    match row {
                        Ok(task) if !task.duplicate => drop(self.tasks.insert(name, task.task)),
                        Ok(task) => said.push(format!("{name} is {} again", self.task_name(task.task))),
                        Err(refusal) => said.push(format!("{name} is refused: {}", refusal.kind.as_str())),
                    }
                }
            }
        }
        for save in released.saves {
            said.extend(self.tell_save(save));
        }
        for delivery in released.deliveries {
            said.extend(self.tell_delivery(delivery));
        }
    }

    fn tell_save(&self, save: Save) -> Vec<String> {
        let line = match save {
            Save::TaskFinished { task, state } => format!("{} ends {}", self.task_name(task), state.as_str()),
            Save::TaskReopened { task } => format!("{} runs again", self.task_name(task)),
            Save::BatchClosed { batch, state, differences } => {
                let batch = self.batch_name(batch);
                let mut lines = vec![format!("{batch} closes {}", state.as_str())];
                for difference in differences {
                    let name =
                        format!("{}.{}/{}", self.task_name(difference.task), difference.step, difference.attempt);
                    let Difference { completion, recorded, .. } = difference;
                    lines.push(format!("{batch} differs: {name} is {completion} and was {recorded}"));
                }
                return lines;
            }
            Save::StepSettled(settled) => {
                let name = self.step_name(settled.task, settled.step);
                match settled.kind {
                    SettledKind::Complete => return Vec::new(),
                    SettledKind::Bypassed | SettledKind::ResolvedManually => {
                        format!("{name} {}", settled.kind.as_str())
                    }
                }
            }
            Save::AttemptFailed(failed) => {
                let name = self.step_name(failed.task, failed.step);
                let cause = failed.cause.as_str();
                let class = failed.failure.class.strip_prefix("TaskerCore::Errors::Poison").map_or("", |_| " poison");
                match failed.retry_in_ms {
                    Some(ms) => format!("{name}/{} {cause}, again in {ms}", failed.attempt),
                    None => format!("{name}/{} {cause}{class} for good", failed.attempt),
                }
            }
            Save::StepReturned { task, step, attempt, .. } => {
                format!("{}/{attempt} comes back", self.step_name(task, step))
            }
            Save::ResultReceived(received) => {
                format!("ledger: {} {}", self.reference(&received.at), received.disposition.as_str())
            }
            Save::WorkerEnded { registration, reason } => {
                format!("{} is {reason}", self.world.store.workers[&registration].introduction.name)
            }
            Save::FleetAction(acted) => {
                let FleetActed { action, before, after } = *acted;
                format!("{} was {before} and is {after}", action.subject)
            }
            Save::InboxTaken { row, refusal } => {
                let text = refusal
                    .map_or("taken".to_owned(), |why| format!("refused: {}", why.split(':').next().expect("a code")));
                format!("inbox {row} {text}")
            }
            Save::Template(_)
            | Save::Task(_)
            | Save::Batch(_)
            | Save::OperatorAction(_)
            | Save::WorkerRegistered { .. }
            | Save::Command(_) => return Vec::new(),
        };
        vec![line]
    }

    fn tell_delivery(&mut self, delivery: Deliver) -> Vec<String> {
        let line = match delivery {
            Deliver::InboxLater { rows } => format!("inbox rows {rows:?} wait"),
            Deliver::Publish(Notice { kind: NoticeKind::StepProgressed, task, attempt, custom, .. }) => {
                let (task, attempt) = (task.expect("of a task"), attempt.expect("of an attempt"));
                let (step, progress) = *custom.expect("with what was said");
                format!("{}.{step}/{attempt} is at {}", self.task_name(task), String::from_utf8_lossy(&progress))
            }
            Deliver::Publish(_) | Deliver::Read(_) => return Vec::new(),
            Deliver::Worker { peer, message } => {
                let name = self.worker_name(peer);
                match message {
                    WorkerMessage::Execute(dispatch) => self.take(&name, *dispatch),
                    WorkerMessage::Cancel { steps, timed_out } => {
                        let why = if timed_out { "timeout" } else { "cancelled" };
                        format!("{name} stops {}: {why}", self.references(&steps))
                    }
                    WorkerMessage::Drain { reason } => format!("{name} drains: {reason}"),
                    WorkerMessage::RegisterAgain { .. } => format!("{name} must register"),
                }
            }
            Deliver::Reply { to, reply } => {
                let who = self.origins[&to.correlation].clone();
                return self.tell_reply(&who, reply);
            }
        };
        vec![line]
    }

    fn take(&mut self, name: &str, dispatch: Dispatch) -> String {
        let peer = self.peers.get_mut(name).expect("a known worker");
        assert_eq!(peer.registration, Some(dispatch.registration), "a batch for another registration");
        let mut at = Vec::new();
        for step in &dispatch.steps {
            let task = &dispatch.tasks[step.task as usize];
            let parents = task.template.dag.parents(step.step);
            for parent in parents {
                assert!(task.results.iter().any(|(known, _)| known == parent), "a parent's result is missing");
            }
            at.push(StepReference {
                batch: dispatch.batch,
                task: task.id,
                step: task.template.steps[step.step as usize].name.clone(),
                attempt: step.attempt,
            });
        }
        peer.held.extend(at.iter().map(|at| Held { at: at.clone(), reported: None }));
        format!("{name} runs {}: {}", self.batch_name(dispatch.batch), self.references(&at))
    }

    fn tell_reply(&mut self, who: &str, reply: Reply) -> Vec<String> {
        let names =
            |batches: &[BatchId]| batches.iter().map(|&batch| self.batch_name(batch)).collect::<Vec<_>>().join(" ");
        let line = match reply {
            Reply::Refused(refusal) => format!("{who} is refused: {}", refusal.kind.as_str()),
            Reply::TemplateRegistered { created: false, .. } => format!("{who} registered it before"),
            Reply::TaskTried { task, steps_dispatched, batches, steps_waiting, .. } => {
                let task = self.task_name(task);
                let batches = if batches.is_empty() { String::new() } else { format!(" in {}", names(&batches)) };
                format!("{task} tried: {steps_dispatched} dispatched{batches}, {steps_waiting} waiting")
            }
            Reply::NamespaceChanged { changed: true, .. } | Reply::WorkerDraining { changed: true, .. } => {
                return Vec::new();
            }
            Reply::NamespaceChanged { namespace, .. } => {
                let state = if namespace.pause.is_some() { "paused" } else { "active" };
                format!("{} is {state} already", namespace.name)
            }
            Reply::WorkerDraining { worker, in_flight, .. } => {
                format!("{worker} drains already, {in_flight} steps out")
            }
            Reply::Explained(explanation) => return self.explained(&explanation),
            Reply::Waited { finished, task } => {
                let word = if finished { "hears" } else { "has waited" };
                format!("{who} {word}: {} {}", self.task_name(task.id), task.state.as_str())
            }
            Reply::TaskCancelled { task, steps_stopped, steps_cancelled } => {
                let task = self.task_name(task);
                format!("{task} cancelled: {steps_stopped} stopped, {steps_cancelled} never started")
            }
            Reply::TaskRetried { task, steps } => format!("{} reset: {}", self.task_name(task), steps.join(" ")),
            Reply::StepResolved { task, step, state } => {
                format!("{}.{step} resolved, task {}", self.task_name(task), state.as_str())
            }
            Reply::WorkerRegistered { registration, closed_batches, .. } => {
                let peer = self.peers.get_mut(who).expect("a known worker");
                peer.registration = Some(registration);
                peer.held.retain(|held| !closed_batches.contains(&held.at.batch));
                if closed_batches.is_empty() {
                    return Vec::new();
                }
                let closed = closed_batches.iter().map(|&batch| self.batch_name(batch)).collect::<Vec<_>>().join(" ");
                format!("{who} forgets {closed}")
            }
            Reply::ResultsAccepted { results, closed_batches } => {
                let mut lines = Vec::new();
                for (at, disposition) in &results {
                    if *disposition != Disposition::Accepted {
                        lines.push(format!("{who} hears: {} {}", self.reference(at), disposition.as_str()));
                    }
                }
                for batch in closed_batches {
                    lines.push(format!("{who} forgets {}", self.batch_name(batch)));
                    let peer = self.peers.get_mut(who).expect("a known worker");
                    peer.held.retain(|held| held.at.batch != batch);
                }
                return lines;
            }
            Reply::ResultsMissing { steps, .. } => format!("{who} sends again: {}", self.references(&steps)),
            Reply::WorkerUnregistered { steps_returned, .. } => {
                format!("{who} may go, {steps_returned} steps given up")
            }
            Reply::RegisterAgain { .. } => format!("{who} must register"),
            Reply::TemplateRegistered { created: true, .. }
            | Reply::TasksInitialized(_)
            | Reply::Status(_)
            | Reply::Workers(_)
            | Reply::Namespaces(_)
            | Reply::Templates(_)
            | Reply::Template(_)
            | Reply::HeartbeatAcknowledged => return Vec::new(),
        };
        vec![line]
    }

    /// A line a step.
    pub fn explained(&self, explanation: &Explanation) -> Vec<String> {
        let named = |steps: &[(Arc<str>, StepState)]| {
            steps.iter().map(|(name, state)| format!("{name}={}", state.as_str())).collect::<Vec<_>>().join(" ")
        };
        let task = self.task_name(explanation.task);
        let mut lines = Vec::new();
        for step in &explanation.steps {
            let mut line = format!("{task}.{} {}", step.name, step.why.as_str());
            for (word, text) in [("for", named(&step.waits_for)), ("above", named(&step.held_up_by))] {
                if !text.is_empty() {
                    line += &format!(" {word} {text}");
                }
            }
            line += &step.worker.as_ref().map_or(String::new(), |worker| format!(" by {worker}"));
            line += &step.since_ms.map_or(String::new(), |ms| format!(" since {ms}"));
            line += &step.in_ms.map_or(String::new(), |ms| format!(" in {ms}"));
            lines.push(line);
        }
        lines
    }

    pub fn task_name(&self, id: TaskId) -> String {
        let known = self.tasks.iter().find(|&(_, &known)| known == id);
        known.map_or_else(|| "nobody".to_owned(), |(name, _)| name.clone())
    }

    fn batch_name(&self, id: BatchId) -> String {
        let place = self.batches.iter().position(|&known| known == id);
        place.map_or_else(|| "B?".to_owned(), |place| format!("B{}", place + 1))
    }

    fn step_name(&self, task: TaskId, step: u32) -> String {
        let name = &self.world.store.tasks[&task].new.template.steps[step as usize].name;
        format!("{}.{name}", self.task_name(task))
    }

    fn reference(&self, at: &StepReference) -> String {
        format!("{}.{}/{}", self.task_name(at.task), at.step, at.attempt)
    }

    fn references(&self, steps: &[StepReference]) -> String {
        steps.iter().map(|at| self.reference(at)).collect::<Vec<_>>().join(" ")
    }

    fn worker_name(&self, peer: PeerId) -> String {
        let known = self.peers.iter().find(|(_, known)| known.id == peer);
        known.map_or_else(|| "nobody".to_owned(), |(name, _)| name.clone())
    }
}
