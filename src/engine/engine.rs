//! The engine: takes events, owns every state, says what follows. Each kind of event has its file; this one holds what
//! they share: the parts, the order of a pass, and how a step's end moves its task on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::Batches;
use crate::census::Census;
use crate::config::Config;
use crate::deadlines::{Deadline, Deadlines};
use crate::delivery::{Deliver, KeyLookup, Notice, NoticeKind, Reply};
use crate::effect::{Command, Effects, Save};
use crate::event::Event;
use crate::fleet::Pauses;
use crate::hash::BuildIdHasher;
use crate::id::{BatchId, IdSource, Origin, TaskId};
use crate::inquiries::Inquiries;
use crate::loads::Loads;
use crate::mark::Mark;
use crate::planner::Queues;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::report::HeldCounts;
use crate::state::TaskState;
use crate::step::{Phase, StepInput};
use crate::task::Task;
use crate::time::{Mono, Now};
use crate::waiters::Waiters;
use crate::workers::Workers;

/// Keys of ended tasks that are remembered while look-ups are under way, which take a millisecond each. One that is forgotten
/// too early is still refused by the database's own key.
const ENDED_KEYS_MAX: usize = 100_000;

/// Decides what happens next in every live task. See the crate's page for the contract.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) ids: IdSource,
    pub(crate) registry: Registry,
    pub(crate) tasks: HashMap<TaskId, Box<Task>, BuildIdHasher>,
    pub(crate) batches: Batches,
    pub(crate) workers: Workers,
    pub(crate) queues: Queues,
    pub(crate) pauses: Pauses,
    pub(crate) census: Census,
    pub(crate) deadlines: Deadlines,
    pub(crate) waiters: Waiters,
    /// Live tasks by idempotency key, and those that ended while a look-up was under way.
    pub(crate) keys: BTreeMap<KeyLookup, TaskId>,
    pub(crate) ended_keys: BTreeMap<KeyLookup, TaskId>,
    /// Requests whose keys are being looked up.
    pub(crate) lookups: Inquiries,
    /// Reports whose tasks are being looked up.
    pub(crate) strange: Inquiries,
    /// Engines in this process before this one.
    pub(crate) generation: u64,
    pub(crate) loads: Loads,
    /// Steps of live tasks that have not ended.
    pub(crate) steps_unfinished: u64,
    /// Payload that live tasks keep in memory.
    pub(crate) held_bytes: u64,
    /// Nothing is planned any more.
    pub(crate) draining: bool,
    /// Saves, deliveries and marks of the last group. The next is likely to be about as large, and need not be copied as it
    /// grows.
    pub(crate) room: [usize; 3],
}

impl Engine {
    /// An engine that knows nothing yet. The seed decides ids and jitter.
    pub fn new(config: Config, seed: [u64; 2]) -> Engine {
        Engine {
            config,
            ids: IdSource::new(seed),
            registry: Registry::default(),
            tasks: HashMap::default(),
            batches: Batches::default(),
            workers: Workers::default(),
            queues: Queues::default(),
            pauses: Pauses::new(),
            census: Census::default(),
            deadlines: Deadlines::default(),
            waiters: Waiters::default(),
            keys: BTreeMap::new(),
            ended_keys: BTreeMap::new(),
            lookups: Inquiries::default(),
            strange: Inquiries::default(),
            generation: 0,
            loads: Loads::default(),
            steps_unfinished: 0,
            held_bytes: 0,
            draining: false,
            room: [0; 3],
        }
    }

    /// Takes one event. What became ready waits for [`plan`](Engine::plan), which is called once for all events that
    /// arrived together.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Effects) {
        out.now = now.mono;
        self.census.now = now.mono;
        if out.saves.is_empty() && out.deliveries.is_empty() {
            let [saves, deliveries, marks] = self.room;
            out.saves.reserve(saves);
            out.deliveries.reserve(deliveries);
            out.marks.reserve(marks);
        }
        match event {
            Event::TemplateSubmitted { origin, template } => self.template_submitted(origin, template, out),
            Event::TasksSubmitted { origin, requests } => self.tasks_submitted(now, origin, requests, out),
            Event::KeysLookedUp { submission, found } => self.keys_looked_up(now, *submission, &found, out),
            Event::TaskTried { origin, task } => self.task_tried(now, origin, task, out),
            Event::StatusAsked { origin, query } => self.status_asked(now, origin, query, out),
            Event::WaitAsked { origin, task, timeout_ms } => self.wait_asked(now, origin, task, timeout_ms, out),
            Event::OperationAsked { origin, operation } => self.operation_asked(now, origin, operation, out),
            Event::TaskLoaded { origin, operation, asked, task } => {
                self.task_loaded(now, origin, *operation, asked, task, out);
            }
            Event::EndedTasksLoaded { reports, tasks } => self.ended_tasks_loaded(now, *reports, &tasks, out),
            Event::FleetActionAsked { origin, action } => self.fleet_action_asked(now, origin, action, out),
            Event::NamespacesAsked { origin } => self.namespaces_asked(origin, out),
            Event::ExplanationAsked { origin, query } => self.explanation_asked(now, origin, query, out),
            Event::WorkersAsked { origin } => self.workers_asked(now, origin, out),
            Event::TemplatesAsked { origin, namespace } => self.templates_asked(origin, namespace.as_deref(), out),
            Event::TemplateAsked { origin, namespace, name, version } => {
                self.template_asked(origin, &namespace, &name, version.as_deref(), out);
            }
            Event::WorkerRegistered { origin, worker } => self.worker_registered(now, origin, worker, out),
            Event::WorkerBeat { origin, registration, beat } => {
                self.worker_beat(now, origin, registration, beat, out);
            }
            Event::ResultsReported { origin, results } => self.results_reported(now, origin, results, out),
            Event::StepProgressed { peer, at, progress } => self.step_progressed(now, peer, &at, progress, out),
            Event::BatchReported { origin, batch, steps } => self.batch_reported(now, origin, batch, steps, out),
            Event::StepsReturned { origin, steps, reason } => {
                self.steps_returned(now, origin, steps, &reason, out);
            }
            Event::WorkerLeft { origin, registration, drain, reason } => {
                self.worker_left(now, origin, registration, drain, &reason, out);
            }
            Event::PeerUnreachable { peer } => self.peer_unreachable(peer, out),
            Event::InboxTaken { rows } => self.inbox_taken(now, rows, out),
        }
    }

    /// Acts on every deadline that has passed.
    pub fn pass_deadlines(&mut self, now: Now, out: &mut Effects) {
        self.census.now = now.mono;
        while let Some(deadline) = self.deadlines.pop_due(now.mono) {
            match deadline {
                Deadline::Batch(batch) => self.batch_due(now, batch, out),
                Deadline::Retry(task, step) => self.retry_due(now, task, step),
                Deadline::Start(task) => self.start_due(task),
                Deadline::Worker(registration) => self.worker_due(now, registration, out),
                Deadline::Resume(registration) => {
                    self.workers.change(registration, |worker| worker.paused = false);
                }
                Deadline::Wait(waiter) => self.wait_due(now, waiter, out),
            }
        }
    }

    /// When [`pass_deadlines`](Engine::pass_deadlines) has something to do next.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.next()
    }

    /// The oldest batch that is not closed: the store finds open batches from there on.
    pub fn oldest_open_batch(&self) -> Option<BatchId> {
        self.batches.oldest()
    }

    /// Payload of live tasks in memory, in bytes; see [`Config::held_bytes_max`].
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How much is held in memory.
    pub fn held(&self) -> HeldCounts {
        let (loads, loads_ended) = self.loads.held();
        HeldCounts {
            tasks: self.tasks.len() as u64,
            steps_unfinished: self.steps_unfinished,
            batches: self.batches.len() as u64,
            workers: self.workers.len() as u64,
            waiters: self.waiters.len() as u64,
            keys: self.keys.len() as u64,
            ended_keys: self.ended_keys.len() as u64,
            lookups: self.lookups.rows(),
            strange: self.strange.rows(),
            loads: loads as u64,
            loads_ended: loads_ended as u64,
            deadlines: self.deadlines.len() as u64,
        }
    }

    /// Records an input of a step whose phase is known to allow it, and keeps the number of unfinished steps.
    pub(crate) fn move_step(&mut self, task: TaskId, step: u32, input: StepInput) {
        let task = self.tasks.get_mut(&task).expect("the caller has just looked at this live task");
        let before = task.step(step).phase().state().is_final();
        task.must_apply(step, input, &mut self.census);
        let after = task.step(step).phase().state().is_final();
        match (before, after) {
            (false, true) => self.steps_unfinished -= 1,
            (true, false) => self.steps_unfinished += 1,
            (false, false) | (true, true) => {}
        }
    }

    /// After a step was settled: hands its result to waiting children and frees what no child needs any more.
    pub(crate) fn satisfy_children(&mut self, id: TaskId, step: u32, result: Bytes) {
        let task = self.tasks.get_mut(&id).expect("the caller has just settled a step of it");
        let before = task.held_bytes;
        task.satisfy_children(step, result, self.config.delivery_bytes_max, &mut self.census);
        self.held_bytes = self.held_bytes + task.held_bytes - before;
    }

    /// Puts a task in line for the planner, or ends it when no step of it can run any more.
    pub(crate) fn advance_task(&mut self, now: Now, id: TaskId, out: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match task.counts.end() {
            Some(end) => self.end_task(now, id, end, out),
            None => self.queues.place(task),
        }
    }

    /// Ends a task and lets go of it: from here on the store knows it.
    pub(crate) fn end_task(&mut self, now: Now, id: TaskId, end: TaskState, out: &mut Effects) {
        let mut task = self.tasks.remove(&id).expect("only live tasks are ended");
        self.held_bytes -= task.held_bytes;
        self.queues.dequeue(&mut task);
        self.census.leave(&task);
        if let Some(start_at) = task.start_at {
            self.deadlines.remove(start_at, Deadline::Start(id));
        }
        task.finish(end).unwrap_or_else(|_| panic!("a live task in {:?} cannot end as {end:?}", task.state()));
        let unfinished = task.steps.iter().filter(|step| !step.phase().state().is_final()).count();
        self.steps_unfinished -= unfinished as u64;
        out.saves.push(Save::TaskFinished { task: id, state: end });
        let lived_ms = u64::try_from(now.wall.0.saturating_sub(task.created_at.0)).unwrap_or(0);
        out.marks.push(Mark::TaskEnded { template: task.template_index, state: end, lived_ms });
        self.tell_task(now, &task, end, out);
        let kind = match end {
            TaskState::Complete => NoticeKind::TaskCompleted,
            TaskState::Error => NoticeKind::TaskFailed,
            TaskState::Cancelled => NoticeKind::TaskCancelled,
            TaskState::ResolvedManually => NoticeKind::TaskResolved,
            TaskState::Pending | TaskState::InProgress => unreachable!("`finish` takes final states only"),
        };
        out.publish(Notice { state: Some(end.as_str()), ..task.notice(kind) });
        if let Some(key) = task.key_lookup() {
            self.keys.remove(&key);
            if !self.lookups.none() {
                if self.ended_keys.len() >= ENDED_KEYS_MAX {
                    self.ended_keys.clear();
                }
                self.ended_keys.insert(key, id);
            }
        }
        self.loads.ended(id);
        self.answer_waiters(now, &task, out);
    }

    fn retry_due(&mut self, now: Now, id: TaskId, step: u32) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        // A deadline may have outlived its attempt: an operator has reset the step, and it waits anew.
        if matches!(task.step(step).phase(), Phase::Retrying(at) if at <= now.mono) {
            task.must_apply(step, StepInput::RetryDue, &mut self.census);
            self.queues.place(task);
        }
    }

    fn start_due(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.become_due(&mut self.census);
            self.queues.place(task);
        }
    }
}

impl Effects {
    /// Answers a command.
    pub(crate) fn reply(&mut self, to: Origin, reply: Reply) {
        self.deliveries.push(Deliver::Reply { to, reply });
    }

    /// Refuses a command.
    pub(crate) fn refuse(&mut self, to: Origin, refusal: Refusal) {
        self.reply(to, Reply::Refused(refusal));
    }

    /// Records a command and its outcome.
    pub(crate) fn audit(
        &mut self,
        name: &'static str,
        origin: Origin,
        task: Option<TaskId>,
        outcome: Result<(), &Refusal>,
    ) {
        let outcome = outcome.map_or_else(|refusal| refusal.kind.as_str(), |()| "accepted");
        self.saves.push(Save::Command(Command { name, origin, task, outcome, taken: self.now, duration_ms: 0 }));
    }

    /// Publishes a notice.
    pub(crate) fn publish(&mut self, notice: Notice) {
        self.deliveries.push(Deliver::Publish(notice));
    }
}

impl Task {
    /// A notice about this task.
    pub(crate) fn notice(&self, kind: NoticeKind) -> Notice {
        Notice { task: Some(self.id), template: Some(self.template.clone()), ..Notice::new(kind) }
    }

    /// A notice about one of its steps.
    pub(crate) fn step_notice(&self, kind: NoticeKind, step: u32) -> Notice {
        Notice {
            step: Some(step),
            attempt: Some(self.step(step).attempts),
            state: Some(self.step(step).phase().state().as_str()),
            ..self.notice(kind)
        }
    }

    /// Its idempotency key with what the key is unique within.
    pub(crate) fn key_lookup(&self) -> Option<KeyLookup> {
        let key = self.idempotency_key.clone()?;
        let template = &self.template.key;
        Some(KeyLookup { namespace: template.namespace.clone(), name: template.name.clone(), key })
    }
}

/// An error text as a notice carries it.
pub(crate) fn reason(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| Arc::from(text))
}
