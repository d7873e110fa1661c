//! What operators do to namespaces and workers: pause and resume the one, let the other leave. A paused namespace takes tasks
//! as before, and none of its steps is handed out; what runs goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::census::{Counts, Place};
use crate::delivery::{Deliver, Notice, NoticeKind, Reply, WorkerMessage};
use crate::effect::{Effects, Save};
use crate::engine::{Engine, reason};
use crate::event::Capability;
use crate::id::{Origin, RegistrationId};
use crate::refusal::{Refusal, RefusalKind};
use crate::report::NamespaceReport;
use crate::task::count;
use crate::time::{Now, Wall};
use crate::workers::{Standing, Worker};

/// Namespaces that may be paused at a time. One need not have templates to be paused, so that only this bounds them; nobody
/// who has as many pauses them one by one.
const PAUSES_MAX: u64 = 10_000;

/// The reason of a drain that was given none.
const NO_REASON: &str = "an operator asks for it";

/// Something that an operator does to a namespace or a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetAction {
    /// What.
    pub kind: FleetActionKind,
    /// To which namespace, or which worker, by name.
    pub subject: Arc<str>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What a [`FleetAction`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetActionKind {
    /// Hands out no step of a namespace any more.
    PauseNamespace,
    /// Hands them out again.
    ResumeNamespace,
    /// Lets a worker finish what it has, and leave.
    DrainWorker,
}

impl FleetActionKind {
    /// The name in `fleet_actions`.
    pub const fn name(self) -> &'static str {
        match self {
            FleetActionKind::PauseNamespace => "pause",
            FleetActionKind::ResumeNamespace => "resume",
            FleetActionKind::DrainWorker => "drain",
        }
    }

    /// What it is done to: `namespace` or `worker`.
    pub const fn subject(self) -> &'static str {
        match self {
            FleetActionKind::PauseNamespace | FleetActionKind::ResumeNamespace => "namespace",
            FleetActionKind::DrainWorker => "worker",
        }
    }

    const fn command(self) -> &'static str {
        match self {
            FleetActionKind::PauseNamespace => "PauseNamespace",
            FleetActionKind::ResumeNamespace => "ResumeNamespace",
            FleetActionKind::DrainWorker => "DrainWorker",
        }
    }
}

/// A [`FleetAction`] that has changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetActed {
    /// What, to whom, by whom, why.
    pub action: FleetAction,
    /// State before: `active` or `paused` of a namespace, the standing of a worker.
    pub before: &'static str,
    /// State after.
    pub after: &'static str,
}

/// That a namespace is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// By whom.
    pub actor: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// Since when.
    pub at: Wall,
}

/// The paused namespaces.
pub(crate) type Pauses = BTreeMap<Arc<str>, Pause>;

impl Engine {
    pub(crate) fn fleet_action_asked(&mut self, now: Now, origin: Origin, action: FleetAction, out: &mut Effects) {
        let kind = action.kind;
        let done = match kind {
            FleetActionKind::PauseNamespace => self.pause(now, action, out),
            FleetActionKind::ResumeNamespace => Ok(self.resume(action, out)),
            FleetActionKind::DrainWorker => self.drain_worker(origin, action, out),
        };
        out.audit(kind.command(), origin, None, done.as_ref().map(|_| ()));
        match done {
            Ok(reply) => out.reply(origin, reply),
            Err(refusal) => out.refuse(origin, refusal),
        }
    }

    /// A namespace that is paused stays as it is: whoever was first is its reason.
    fn pause(&mut self, now: Now, action: FleetAction, out: &mut Effects) -> Result<Reply, Refusal> {
        let namespace = action.subject.clone();
        let changed = !self.pauses.contains_key(&namespace);
        if changed {
            if self.pauses.len() as u64 >= PAUSES_MAX {
                let message = format!("{PAUSES_MAX} namespaces are paused, which is the limit");
                return Err(Refusal::new(RefusalKind::Overloaded, message).limit(PAUSES_MAX));
            }
            let pause = Pause { actor: (*action.actor).into(), reason: (*action.reason).into(), at: now.wall };
            self.pauses.insert(namespace.clone(), pause);
            self.queues.pause(&namespace);
            self.acted(NoticeKind::NamespacePaused, action, "active", "paused", out);
        }
        Ok(Reply::NamespaceChanged { changed, namespace: Box::new(self.namespace_report(&namespace)) })
    }

    fn resume(&mut self, action: FleetAction, out: &mut Effects) -> Reply {
        let namespace = action.subject.clone();
        let changed = self.pauses.remove(&namespace).is_some();
        if changed {
            self.queues.resume(&namespace);
            self.acted(NoticeKind::NamespaceResumed, action, "paused", "active", out);
        }
        Reply::NamespaceChanged { changed, namespace: Box::new(self.namespace_report(&namespace)) }
    }

    /// Gives a worker nothing more and asks it to leave. One that cannot be reached now is asked when it comes back.
    fn drain_worker(&mut self, origin: Origin, action: FleetAction, out: &mut Effects) -> Result<Reply, Refusal> {
        let Some(worker) = self.workers.by_name(&action.subject) else {
            let message = format!("no worker {} is registered", action.subject);
            return Err(Refusal::new(RefusalKind::UnknownWorker, message).field("worker"));
        };
        let (registration, before) = (worker.registration, worker.state());
        let changed = before != Standing::Draining.as_str();
        let reply = Reply::WorkerDraining {
            worker: worker.name(),
            changed,
            in_flight: worker.out,
            batches: count(worker.batches.len()),
        };
        if changed {
            let why = if action.reason.is_empty() { NO_REASON } else { &action.reason };
            let order = Drained { by: origin, reason: why.into() };
            self.workers.change(registration, |worker| worker.drain(order));
            self.ask_to_drain(registration, out);
            self.acted(NoticeKind::WorkerDraining, action, before, Standing::Draining.as_str(), out);
        }
        Ok(reply)
    }

    /// Tells a worker that was asked to leave, and has not said that it does.
    pub(crate) fn ask_to_drain(&self, registration: RegistrationId, out: &mut Effects) {
        let Some(worker) = self.workers.get(registration) else { return };
        if let (Some(order), Some(peer), Standing::Draining, None) =
            (&worker.drained, worker.peer, worker.standing, worker.leaving)
        {
            let message = WorkerMessage::Drain { reason: order.reason.clone() };
            out.deliveries.push(Deliver::Worker { peer, message });
        }
    }

    fn acted(
        &self,
        kind: NoticeKind,
        action: FleetAction,
        before: &'static str,
        after: &'static str,
        out: &mut Effects,
    ) {
        let mut notice = Notice { state: Some(after), reason: reason(&action.reason), ..Notice::new(kind) };
        match action.kind {
            FleetActionKind::PauseNamespace | FleetActionKind::ResumeNamespace => {
                notice.custom = Some(Box::new((action.subject.clone(), Bytes::new())));
            }
            FleetActionKind::DrainWorker => notice.worker = Some(action.subject.clone()),
        }
        out.publish(notice);
        out.saves.push(Save::FleetAction(Box::new(FleetActed { action, before, after })));
    }

    pub(crate) fn namespaces_asked(&self, origin: Origin, out: &mut Effects) {
        let names: BTreeSet<&Arc<str>> = self.queues.namespaces().chain(self.pauses.keys()).collect();
        let workers = self.workers_by_namespace();
        let report = |name: &Arc<str>| self.report_of(name, workers.get(name).copied().unwrap_or(0));
        out.reply(origin, Reply::Namespaces(names.into_iter().map(report).collect()));
    }

    fn namespace_report(&self, name: &Arc<str>) -> NamespaceReport {
        self.report_of(name, self.workers_by_namespace().get(name).copied().unwrap_or(0))
    }

    fn report_of(&self, name: &Arc<str>, workers: u32) -> NamespaceReport {
        let templates: Vec<u32> = self.registry.of_namespace(name).collect();
        let sum = |of: fn(&Counts) -> u64| templates.iter().map(|&index| of(self.census.of(index))).sum();
        NamespaceReport {
            name: name.clone(),
            pause: self.pauses.get(name).cloned(),
            tasks: sum(|counts| counts.tasks_pending + counts.tasks_in_progress),
            steps_ready: sum(|counts| counts.steps(Place::Ready)),
            steps_in_progress: sum(|counts| counts.steps(Place::InProgress)),
            steps_waiting: sum(|counts| {
                [Place::Waiting, Place::Scheduled, Place::Retrying].map(|place| counts.steps(place)).iter().sum()
            }),
            workers,
            templates: count(templates.len()),
        }
    }

    /// How many connected workers can run something of each namespace.
    fn workers_by_namespace(&self) -> BTreeMap<Arc<str>, u32> {
        let mut workers = BTreeMap::new();
        for worker in self.workers.iter().filter(|worker| worker.peer.is_some()) {
            for namespace in namespaces_of(worker) {
                *workers.entry(namespace.clone()).or_insert(0) += 1;
            }
        }
        workers
    }
}

fn namespaces_of(worker: &Worker) -> BTreeSet<&Arc<str>> {
    worker
        .introduction
        .capabilities
        .iter()
        .map(|capability| match capability {
            Capability::Exact(key) => &key.namespace,
            Capability::AnyVersion(namespace, _) | Capability::Namespace(namespace) => namespace,
        })
        .collect()
}

/// An operator's order that a worker leaves.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    /// The command that gave it.
    pub by: Origin,
    pub reason: Arc<str>,
}
