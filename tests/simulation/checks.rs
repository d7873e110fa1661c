//! What must hold, besides what the store itself refuses to take: nothing is told before it is durable, results come from
//! where they claim to come from, what was acknowledged is there, nothing of a paused namespace is handed out (the store
//! sees to that), and at the end everything has ended.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tasker_engine::{
    BatchId, Deliver, Dispatch, Disposition, FailureCause, ItemRecord, NoticeKind, PeerId, Read, RegistrationId, Reply,
    Save, SettledKind, StepReference, TaskId, TaskState, WorkerMessage,
};

use crate::broker::Group;
use crate::run::Sim;

/// What the checks remember outside of the broker.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Results that a worker produced for an attempt, by checksum.
    pub produced: HashSet<(StepReference, u64)>,
    /// Everything that was ever dispatched and arrived.
    pub dispatched: Vec<StepReference>,
    /// Acknowledged tasks, and those by template name and key.
    pub accepted: BTreeSet<TaskId>,
    pub by_key: BTreeMap<(String, String), TaskId>,
    /// Registrations whose WorkerRegistered has left, and on which connection.
    announced: BTreeMap<RegistrationId, PeerId>,
    /// Results in the store's ledger.
    ledger: HashSet<StepReference>,
    refused_rows: BTreeSet<i64>,
    /// Tasks that ran again after their end: what was read of them meanwhile may come late.
    pub reopened: BTreeSet<TaskId>,
    /// Epochs of the groups, in order.
    epoch: u64,
    groups: u64,
    pub deliveries: u64,
}

impl Sim {
    /// Groups follow each other without a gap, and no epoch comes back.
    pub fn check_chain(&mut self, epoch: u64) {
        self.checks.groups += 1;
        assert_eq!(self.lane.seq, self.checks.groups, "a group is missing or twice in the lane");
        assert!(epoch >= self.checks.epoch, "epoch {epoch} writes after epoch {}", self.checks.epoch);
        self.checks.epoch = epoch;
    }

    /// A save on its way into the store.
    pub fn check_save(&mut self, save: &Save) {
        match save {
            Save::StepSettled(settled) if settled.kind == SettledKind::Complete => {
                let step = &self.store.tasks[&settled.task].new.template.steps[settled.step as usize];
                let batch = settled.batch.expect("a complete step was in a batch");
                let at = StepReference { batch, task: settled.task, step: step.name.clone(), attempt: settled.attempt };
                assert!(
                    self.checks.produced.contains(&(at.clone(), settled.checksum)),
                    "an accepted result that no worker produced: {at:?} {:?}",
                    settled.result
                );
            }
            Save::AttemptFailed(failed) if failed.cause == FailureCause::WorkerLost => {
                // A task of the very same group is not there yet, and has lost nobody before.
                if let Some(task) = self.store.tasks.get(&failed.task) {
                    let losses = task.steps[failed.step as usize].losses;
                    assert!(losses < self.config.poison_limit, "a step outlives its poison limit");
                }
            }
            Save::ResultReceived(received) => {
                self.checks.ledger.insert(received.at.clone());
            }
            Save::TaskReopened { task } => {
                self.checks.reopened.insert(*task);
            }
            Save::InboxTaken { row, refusal: Some(_) } => {
                self.checks.refused_rows.insert(*row);
            }
            _ => {}
        }
    }

    /// Something leaves: what it tells must be durable. `group` is what it leaves with.
    pub fn check_delivery(&mut self, process: usize, delivery: &Deliver, group: &Group) {
        let fact = matches!(
            delivery,
            Deliver::Reply {
                reply: Reply::TasksInitialized(_) | Reply::ResultsAccepted { .. } | Reply::TaskCancelled { .. },
                ..
            }
        );
        if process != self.active && !fact {
            // A broker that slept while another took the lane tells what was so before; its connections are gone.
            return;
        }
        match delivery {
            Deliver::Reply { to, reply } => {
                if let Reply::WorkerRegistered { registration, .. } = reply {
                    self.checks.announced.insert(*registration, to.peer);
                }
                self.check_reply(reply, group);
            }
            Deliver::Worker { peer, message: WorkerMessage::Execute(dispatch) } => {
                self.check_dispatch(*peer, dispatch, group);
            }
            Deliver::Worker { .. } | Deliver::InboxLater { .. } => {}
            Deliver::Publish(notice) => {
                let ended = matches!(
                    notice.kind,
                    NoticeKind::TaskCompleted
                        | NoticeKind::TaskFailed
                        | NoticeKind::TaskCancelled
                        | NoticeKind::TaskResolved
                );
                if let Some(task) = notice.task.filter(|_| ended) {
                    assert!(self.stored_state(task).is_some(), "the end of {task} is told before it is durable");
                }
            }
            Deliver::Read(Read::Waited { task, .. } | Read::Tried { task, .. }) => {
                if let Some(stored) = self.store.tasks.get(task) {
                    let reopened =
                        group.saves().any(|save| matches!(save, Save::TaskReopened { task: id } if id == task));
                    assert!(
                        stored.state.is_some() || reopened,
                        "the store is asked for the end of {task} before it has it"
                    );
                }
            }
            Deliver::Read(
                Read::IdempotencyKeys { .. }
                | Read::Status { .. }
                | Read::Explanation { .. }
                | Read::EndedTasks { .. }
                | Read::Task { .. },
            ) => {}
        }
    }

    fn stored_state(&self, task: TaskId) -> Option<TaskState> {
        self.store.tasks.get(&task).unwrap_or_else(|| panic!("{task} is told of and not durable")).state
    }

    fn check_reply(&self, reply: &Reply, group: &Group) {
        match reply {
            Reply::TasksInitialized(rows) => {
                for task in rows.iter().flatten() {
                    self.stored_state(task.task);
                }
            }
            Reply::ResultsAccepted { results, closed_batches } => {
                for (at, disposition) in results {
                    self.check_thanks(at, *disposition);
                }
                for batch in closed_batches {
                    self.check_closed(*batch);
                }
            }
            Reply::WorkerRegistered { registration, closed_batches, .. } => {
                let stored = self.store.workers.get(registration);
                assert!(stored.is_some(), "{registration} is told of and not durable");
                for batch in closed_batches {
                    self.check_closed(*batch);
                }
            }
            Reply::WorkerUnregistered { registration, .. } => {
                assert!(self.store.workers[registration].ended.is_some(), "{registration} has not ended");
            }
            Reply::Waited { finished: true, task } => {
                assert_eq!(self.stored_state(task.id), Some(task.state), "a wait ends before its task");
            }
            Reply::TaskCancelled { task, .. } => {
                assert_eq!(self.stored_state(*task), Some(TaskState::Cancelled), "a cancellation that is not durable");
            }
            Reply::TaskTried { task, batches, .. } => {
                self.stored_state(*task);
                for batch in batches {
                    assert!(self.store.batches.contains_key(batch), "{batch} is told of and not durable");
                }
            }
            Reply::StepResolved { task, step, .. } => {
                let stored = &self.store.tasks[task];
                let number = stored.new.template.step_number(step).expect("a step of the template");
                assert!(stored.steps[number as usize].settled.is_some(), "a resolution that is not durable");
            }
            Reply::TaskRetried { task, .. } => {
                self.stored_state(*task);
            }
            Reply::NamespaceChanged { namespace, .. } => {
                // A later act of the same group may have changed it again.
                let acted = group.saves().any(|save| match save {
                    Save::FleetAction(acted) => acted.action.subject == namespace.name,
                    _ => false,
                });
                let stored = self.store.pauses.contains_key(&namespace.name);
                assert!(acted || stored == namespace.pause.is_some(), "a pause that is not durable: {namespace:?}");
            }
            Reply::Refused(_)
            | Reply::TemplateRegistered { .. }
            | Reply::Namespaces(_)
            | Reply::WorkerDraining { .. }
            | Reply::Explained(_)
            | Reply::Status(_)
            | Reply::Waited { finished: false, .. }
            | Reply::Workers(_)
            | Reply::Templates(_)
            | Reply::Template(_)
            | Reply::HeartbeatAcknowledged
            | Reply::ResultsMissing { .. }
            | Reply::RegisterAgain { .. } => {}
        }
    }

    /// A worker that is thanked forgets the result: it must be durable, or in the ledger.
    fn check_thanks(&self, at: &StepReference, disposition: Disposition) {
        let recorded = self.store.batches.get(&at.batch).and_then(|batch| {
            let here = |item: &tasker_engine::BatchItem| {
                let name = &self.store.tasks[&item.task].new.template.steps[item.step as usize].name;
                item.task == at.task && item.attempt == at.attempt && *name == at.step
            };
            batch.items.iter().find(|(item, _)| here(item)).map(|(_, record)| *record)
        });
        let durable = recorded.is_some_and(|record| record != ItemRecord::Open);
        match disposition {
            Disposition::Accepted | Disposition::Refused => assert!(durable, "thanks for {at:?}, which is not durable"),
            // A step that comes back late is no result.
            Disposition::Late if !self.checks.produced.iter().any(|(known, _)| known == at) => {}
            Disposition::Duplicate | Disposition::Late | Disposition::Unknown | Disposition::Contradicting => {
                let kept = durable || self.checks.ledger.contains(at);
                assert!(kept, "thanks ({disposition:?}) for {at:?}, which is nowhere");
            }
        }
    }

    fn check_closed(&self, batch: BatchId) {
        if let Some(stored) = self.store.batches.get(&batch) {
            // A batch that is open with another is over for whoever hears this.
            let other = self.store.workers[&self.store.owner(stored.registration)].ended.is_none();
            assert!(stored.closed.is_some() || other, "{batch} is called closed before it is");
        }
    }

    fn check_dispatch(&self, peer: PeerId, dispatch: &Dispatch, group: &Group) {
        let Dispatch { batch, registration, tasks, steps, .. } = dispatch;
        let stored = self.store.batches.get(batch);
        let stored = stored.unwrap_or_else(|| panic!("{batch} leaves before it is durable"));
        assert_eq!(stored.registration, *registration);
        let ends_now = group
            .saves()
            .any(|save| matches!(save, Save::WorkerEnded { registration: ended, .. } if ended == registration));
        assert!(self.store.workers[registration].ended.is_none() || ends_now, "work for a worker that has left");
        let announced = self.checks.announced.get(registration);
        assert_eq!(announced, Some(&peer), "work before the registration of {registration} was answered");
        for (step, (item, _)) in steps.iter().zip(&stored.items) {
            let task = &tasks[step.task as usize];
            assert_eq!((task.id, step.step, step.attempt), (item.task, item.step, item.attempt), "of {batch}");
            let state = self.stored_state(task.id);
            let closes_now = group.saves().any(|save| match save {
                Save::TaskFinished { task: ended, .. } => *ended == task.id,
                _ => false,
            });
            assert!(state.is_none() || closes_now, "work of {}, which has ended", task.id);
            for parent in task.template.dag.parents(step.step) {
                let given = task.results.iter().find(|(known, _)| known == parent);
                let (_, given) = given.unwrap_or_else(|| panic!("the result of parent {parent} is missing"));
                let known = &self.store.tasks[&task.id].steps[*parent as usize].settled;
                assert!(known.as_ref().is_some_and(|(_, result)| result == given), "another result of {parent}");
            }
        }
    }

    /// With nothing under way the engine knows what the store knows, and no more.
    pub fn check_agreement(&self, process: usize) {
        let engine = &self.brokers[process].engine;
        assert_eq!(engine.oldest_open_batch(), self.store.open.first().copied(), "the oldest open batch");
        let health = engine.health();
        assert_eq!(health.tasks, self.store.live.len() as u64, "live tasks");
        let unfinished: usize = self.store.live.iter().map(|id| self.unfinished_steps(*id)).sum();
        assert_eq!(health.steps_unfinished, unfinished as u64, "unfinished steps");
        assert!(
            health.steps_unfinished <= self.config.steps_max + u64::from(self.faults.steps_slack),
            "too many steps"
        );
        let registered = self.store.workers.values().filter(|worker| worker.ended.is_none()).count();
        assert_eq!(health.workers, registered as u64, "registered workers");
        let paused: Vec<_> = self.store.pauses.keys().cloned().collect();
        assert_eq!(health.namespaces_paused, paused, "paused namespaces");
    }

    fn unfinished_steps(&self, task: TaskId) -> usize {
        let steps = self.store.tasks[&task].steps.iter();
        steps.filter(|step| step.settled.is_none() && !step.failed && !step.cancelled).count()
    }

    /// Whether there is nothing left to wait for.
    pub fn at_rest(&self) -> bool {
        let broker = &self.brokers[self.active];
        // A question to the store that is remembered for ever keeps the end from coming.
        let held = broker.engine.held();
        held.lookups + held.strange + held.loads == 0
            && self.store.live.is_empty()
            && self.store.open.is_empty()
            && self.clients.iter().all(crate::client::Client::is_idle)
            && self.inbox.keys().all(|row| self.store.inbox_taken.contains(row))
            && broker.up
            && broker.in_flight.is_none()
            && broker.gathering.is_empty()
    }

    /// What still goes on.
    pub fn unrest(&self) -> String {
        let broker = &self.brokers[self.active];
        let clients: Vec<_> = self.clients.iter().filter(|client| !client.is_idle()).collect();
        let rows: Vec<_> = self.inbox.keys().filter(|row| !self.store.inbox_taken.contains(row)).collect();
        let (live, open) = (&self.store.live, &self.store.open);
        let group = broker.in_flight.is_some() || !broker.gathering.is_empty();
        format!(
            "tasks {live:?}, batches {open:?}, inbox rows {rows:?}, clients {clients:?}, broker up {}, group {group}",
            broker.up
        )
    }

    /// At the end.
    pub fn check_end(&self) {
        for task in &self.checks.accepted {
            let stored = self.store.tasks.get(task);
            assert!(stored.is_some_and(|task| task.state.is_some()), "{task} was acknowledged and has not ended");
        }
        for ((name, key), task) in &self.checks.by_key {
            let same = self.store.tasks.values().filter(|stored| {
                *stored.new.template.key.name == **name && stored.new.idempotency_key.as_deref() == Some(key)
            });
            let same: Vec<TaskId> = same.map(|stored| stored.new.id).collect();
            assert_eq!(same, [*task], "tasks under key {key} of {name}");
        }
        for (row, request) in &self.inbox {
            let context = crate::client::row_context(*row);
            let made = self.store.tasks.values().filter(|task| task.new.context == context).count();
            let refused = self.checks.refused_rows.contains(row);
            assert!(made <= 1, "inbox row {row} became {made} tasks");
            assert!(refused || made == 1 || request.idempotency_key.is_some(), "inbox row {row} is lost");
        }
        for (id, task) in &self.store.tasks {
            for (number, step) in task.steps.iter().enumerate() {
                let complete = matches!(step.settled, Some((SettledKind::Complete, _)));
                let settled = step.settled.is_some();
                let state = task.state.expect("every task has ended");
                assert!(state != TaskState::Complete || settled, "{id} is complete without step {number}");
                assert!(step.attempts <= step.limit, "step {number} of {id} has {} attempts", step.attempts);
                // Attempts 1 to n without a gap, and the success is the last one.
                let numbers: Vec<u32> = step.failures.iter().map(|(attempt, _)| *attempt).collect();
                let expected: Vec<u32> = (1..=u32::try_from(numbers.len()).expect("few")).collect();
                assert_eq!(numbers, expected, "attempts of step {number} of {id}");
                let last = step.failures.last().map_or(0, |(attempt, _)| *attempt);
                assert!(!complete || step.attempts == last + 1, "a success of step {number} of {id} is not the last");
            }
        }
        let broker = &self.brokers[self.active];
        let health = broker.engine.health();
        assert_eq!((health.tasks, health.steps_unfinished, health.steps_in_progress), (0, 0, 0), "left in memory");
        let held = broker.engine.held();
        assert_eq!((held.batches, held.waiters, held.keys, held.ended_keys), (0, 0, 0, 0), "left in memory: {held:?}");
        assert_eq!(held.loads_ended, 0, "ended tasks are remembered for no question");
        assert!(self.queue.len() < 10_000, "{} things are still to happen", self.queue.len());
    }
}
