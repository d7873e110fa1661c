//! Registered workers: who they are, what they can run, how many steps they have.
//!
//! ```text
//!            silent for 3 heartbeats
//!  Active ---------------------------> Suspect ----.
//!    | ^  <---------------------------             | silent for the worker timeout
//!    | |        sign of life                       v
//!    | '-- registered again -- Unreachable ----> (lost)
//!    |                          ^                  ^
//!    |---- undeliverable -------'                  |
//!    '-- asks or asked to drain -> Draining ----------+--> (left, when its last batch is closed)
//!  Awaited (after a restart) --- registered again --> (replaced), or lost after the grace period
//! ```

use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::event::WorkerIntroduction;
use crate::fleet::Drained;
use crate::hash::BuildIdHasher;
use crate::id::{BatchId, Origin, PeerId, RegistrationId};
use crate::time::Mono;

/// What may be expected of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Heard of lately; gets work.
    Active,
    /// Missed three heartbeats; gets nothing.
    Suspect,
    /// A message to it could not be delivered; must register again before it gets work.
    Unreachable,
    /// Finishes what it has.
    Draining,
    /// Was registered when the broker stopped; has not come back yet.
    Awaited,
}

impl Standing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Suspect | Standing::Unreachable => "suspect",
            Standing::Draining => "draining",
            Standing::Awaited => "awaited",
        }
    }
}

/// A registered worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub registration: RegistrationId,
    pub introduction: WorkerIntroduction,
    /// Its connection; none while it is awaited.
    pub peer: Option<PeerId>,
    pub standing: Standing,
    /// Slots in use: steps sent and not reported.
    pub out: u32,
    pub batches: BTreeSet<BatchId>,
    pub seen: Mono,
    /// When its deadline in `Deadlines` fires.
    pub check_at: Mono,
    /// It has just given steps back: it gets none for a moment, so that they do not go back and forth.
    pub paused: bool,
    /// Batches to it were lost on the way: it gets nothing until it shows that it has the answer to its registration, since
    /// what is sent to it may still go nowhere.
    pub unproven: bool,
    /// An operator's order to leave. It holds for the process, on whichever connection.
    pub drained: Option<Drained>,
    /// The command that asked to leave after draining, to be answered when the last batch is closed.
    pub leaving: Option<Origin>,
    /// By template index: whether it can run it.
    serves: Vec<bool>,
}

impl Worker {
    pub fn new(registration: RegistrationId, introduction: WorkerIntroduction, now: Mono) -> Worker {
        Worker {
            registration,
            introduction,
            peer: None,
            standing: Standing::Awaited,
            out: 0,
            batches: BTreeSet::new(),
            seen: now,
            check_at: now,
            paused: false,
            unproven: false,
            drained: None,
            leaving: None,
            serves: Vec::new(),
        }
    }

    pub fn name(&self) -> Arc<str> {
        self.introduction.name.clone()
    }

    /// Its state as others are told: an order to leave shows also while it cannot be reached.
    pub fn state(&self) -> &'static str {
        if self.drained.is_some() { Standing::Draining.as_str() } else { self.standing.as_str() }
    }

    /// Takes an order to leave. Whoever cannot be reached, or is awaited, begins with it when it registers again.
    pub fn drain(&mut self, order: Drained) {
        self.drained = Some(order);
        match self.standing {
            Standing::Active | Standing::Suspect => self.standing = Standing::Draining,
            Standing::Unreachable | Standing::Draining | Standing::Awaited => {}
        }
    }

    pub fn serves(&self, template: u32) -> bool {
        self.serves.get(template as usize).copied().unwrap_or(false)
    }

    /// Says for every template whether it can run it.
    pub fn serve(&mut self, templates: Vec<bool>) {
        self.serves = templates;
    }

    pub fn set_serves(&mut self, template: u32, serves: bool) {
        let index = template as usize;
        if self.serves.len() <= index {
            self.serves.resize(index + 1, false);
        }
        self.serves[index] = serves;
    }

    /// Slots that may be filled now.
    pub fn credit(&self) -> u32 {
        if self.standing == Standing::Active && !self.paused && !self.unproven {
            (self.introduction.concurrency + u32::from(planted!(CreditOffByOne))).saturating_sub(self.out)
        } else {
            0
        }
    }
}

/// All registered workers, and those with credit.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: HashMap<RegistrationId, Worker, BuildIdHasher>,
    by_peer: HashMap<PeerId, RegistrationId, BuildIdHasher>,
    by_name: BTreeMap<Arc<str>, RegistrationId>,
    /// Workers with credit, the most on top.
    credit: BinaryHeap<(u32, RegistrationId)>,
    /// Whether a credit has changed that `credit` does not know of. Credit changes with every step that a worker reports, and
    /// is needed when steps are handed out: it is put in order once for each plan.
    credit_changed: bool,
}

impl Workers {
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn get(&self, registration: RegistrationId) -> Option<&Worker> {
        self.workers.get(&registration)
    }

    /// Changes a worker, and its place among those with credit.
    pub fn change<T>(&mut self, registration: RegistrationId, change: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let worker = self.workers.get_mut(&registration)?;
        let before = worker.credit();
        let result = change(worker);
        let after = worker.credit();
        self.credit_changed |= before != after;
        Some(result)
    }

    pub fn by_peer(&self, peer: PeerId) -> Option<&Worker> {
        self.workers.get(self.by_peer.get(&peer)?)
    }

    pub fn by_name(&self, name: &str) -> Option<&Worker> {
        self.workers.get(self.by_name.get(name)?)
    }

    pub fn add(&mut self, worker: Worker) {
        let registration = worker.registration;
        if let Some(peer) = worker.peer {
            self.by_peer.insert(peer, registration);
        }
        self.by_name.insert(worker.name(), registration);
        self.credit_changed = true;
        self.workers.insert(registration, worker);
    }

    /// Gives a registered worker its connection. `false` when it is not registered.
    pub fn attach(&mut self, registration: RegistrationId, peer: PeerId, change: impl FnOnce(&mut Worker)) -> bool {
        let known = self.change(registration, |worker| {
            worker.peer = Some(peer);
            change(worker);
        });
        if known.is_some() {
            self.by_peer.insert(peer, registration);
        }
        known.is_some()
    }

    pub fn remove(&mut self, registration: RegistrationId) -> Option<Worker> {
        let worker = self.workers.remove(&registration)?;
        self.credit_changed = true;
        if let Some(peer) = worker.peer
            && self.by_peer.get(&peer) == Some(&registration)
        {
            self.by_peer.remove(&peer);
        }
        if self.by_name.get(&*worker.introduction.name) == Some(&registration) {
            self.by_name.remove(&*worker.introduction.name);
        }
        Some(worker)
    }

    /// Workers by name.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.by_name.values().filter_map(|registration| self.workers.get(registration))
    }

    pub fn registrations(&self) -> Vec<RegistrationId> {
        self.workers.keys().copied().collect()
    }

    /// Whether a worker has credit.
    pub fn any_credit(&mut self) -> bool {
        self.most_credit().is_some()
    }

    /// The worker with the most credit that can run a template.
    pub fn with_credit_for(&mut self, template: u32) -> Option<RegistrationId> {
        let most = self.most_credit()?;
        if self.workers[&most].serves(template) {
            return Some(most);
        }
        let serving = self.workers.values().filter(|worker| worker.serves(template) && worker.credit() > 0);
        serving.max_by_key(|worker| (worker.credit(), worker.registration)).map(|worker| worker.registration)
    }

    /// Fills a slot of a worker that has credit.
    pub fn take_slot(&mut self, registration: RegistrationId) {
        let worker = self.workers.get_mut(&registration).expect("the planner picks registered workers");
        worker.out += 1;
        match self.credit.peek_mut() {
            Some(mut top) if top.1 == registration && !self.credit_changed => {
                top.0 -= 1;
                if top.0 == 0 {
                    PeekMut::pop(top);
                }
            }
            Some(_) | None => self.credit_changed = true,
        }
    }

    /// The worker with the most credit.
    fn most_credit(&mut self) -> Option<RegistrationId> {
        if self.credit_changed {
            let credits = self.workers.values().map(|worker| (worker.credit(), worker.registration));
            self.credit = credits.filter(|&(credit, _)| credit > 0).collect();
            self.credit_changed = false;
        }
        self.credit.peek().map(|&(_, registration)| registration)
    }
}
