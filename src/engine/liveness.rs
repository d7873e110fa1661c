//! Workers come, show that they live, fall silent and leave.

use std::sync::Arc;

use crate::batch::{Completion, ItemStatus};
use crate::deadlines::Deadline;
use crate::delivery::{Deliver, Notice, NoticeKind, Reply, WorkerMessage};
use crate::effect::{Effects, Save};
use crate::engine::{Engine, reason};
use crate::event::{Beat, Capability, TemplateSource, WorkerIntroduction};
use crate::fleet::Drained;
use crate::id::{BatchId, Origin, PeerId, RegistrationId};
use crate::refusal::{Refusal, RefusalKind};
use crate::task::count;
use crate::time::Now;
use crate::workers::{Standing, Worker};

/// Missed heartbeats after which nothing is sent to a worker any more.
const SUSPECT_HEARTBEATS: u64 = 3;

/// What a registration takes over from an earlier one of the same process.
#[derive(Default)]
struct Succession {
    claimed: Vec<BatchId>,
    /// Whether batches had not reached the process.
    lost_on_the_way: bool,
    /// An order to leave that the process was given.
    drained: Option<Drained>,
}

impl Engine {
    pub(crate) fn worker_registered(
        &mut self,
        now: Now,
        origin: Origin,
        mut introduction: WorkerIntroduction,
        out: &mut Effects,
    ) {
        let templates = std::mem::take(&mut introduction.templates);
        let admitted = self.check_introduction(&introduction, &templates);
        out.audit("RegisterWorker", origin, None, admitted.as_ref().copied());
        if let Err(refusal) = admitted {
            out.refuse(origin, refusal);
            return;
        }
        for source in templates {
            self.register_template(source, out).expect("every template was checked");
        }
        let registration = RegistrationId(self.ids.uuid(now.wall));
        let listed = introduction.open_batches.clone();
        let unacknowledged = std::mem::take(&mut introduction.unacknowledged);
        let Succession { claimed, lost_on_the_way, drained } =
            self.replace_earlier(now, origin.peer, &introduction, &listed, out);

        let mut worker = Worker::new(registration, introduction, now.mono);
        worker.peer = Some(origin.peer);
        worker.standing = Standing::Active;
        worker.unproven = lost_on_the_way;
        if let Some(order) = drained {
            worker.drain(order);
        }
        worker.serve(self.registry.coverage(&worker.introduction.capabilities));
        for &id in &claimed {
            let batch = self.batches.get_mut(id).expect("claimed batches are open");
            batch.registration = registration;
            worker.out += count(batch.items.iter().filter(|item| item.status.holds_slot()).count());
            worker.batches.insert(id);
        }
        worker.check_at = now.mono + SUSPECT_HEARTBEATS * self.config.heartbeat_ms;
        self.deadlines.add(worker.check_at, Deadline::Worker(registration));
        out.saves.push(Save::WorkerRegistered { registration, worker: Box::new(worker.introduction.clone()) });
        out.publish(Notice { worker: Some(worker.name()), ..Notice::new(NoticeKind::WorkerRegistered) });
        let templates = self
            .registry
            .indices()
            .filter(|&index| worker.serves(index))
            .map(|index| self.registry.get(index).template.clone())
            .collect();
        self.workers.add(worker);

        let closed_batches = listed.into_iter().filter(|id| !claimed.contains(id)).collect();
        out.reply(origin, Reply::WorkerRegistered { registration, closed_batches, templates });
        self.tell_again_to_stop(registration, &claimed, out);
        self.ask_to_drain(registration, out);
        if !unacknowledged.is_empty() {
            self.take_results(now, origin, registration, unacknowledged, out);
        }
    }

    /// What a worker was told to stop it may never have heard: the message is sent once, and a connection was lost.
    fn tell_again_to_stop(&self, registration: RegistrationId, claimed: &[BatchId], out: &mut Effects) {
        for (status, timed_out) in [(ItemStatus::Cancelled, false), (ItemStatus::TimedOut, true)] {
            let steps = claimed.iter().flat_map(|&id| {
                let items = self.batches[id].items.iter().filter(move |item| item.status == status);
                items.map(move |item| item.reference(id))
            });
            self.tell_to_stop(registration, steps.collect(), timed_out, out);
        }
    }

    /// Finds every fault before anything is changed: a registration is taken whole or not at all.
    fn check_introduction(
        &self,
        introduction: &WorkerIntroduction,
        templates: &[TemplateSource],
    ) -> Result<(), Refusal> {
        let limit = self.config.worker_concurrency_max;
        if !(1..=limit).contains(&introduction.concurrency) {
            let message = format!("concurrency is {} and must be 1 to {limit}", introduction.concurrency);
            return Err(Refusal::new(RefusalKind::InvalidField, message).field("concurrency").limit(limit.into()));
        }
        let limit = self.config.workers_max;
        if self.workers.len() >= limit as usize && self.workers.by_name(&introduction.name).is_none() {
            let message = format!("{limit} workers are registered, which is the limit");
            return Err(Refusal::new(RefusalKind::Overloaded, message).limit(limit.into()));
        }
        if let Some(earlier) = self.workers.by_name(&introduction.name)
            && let (Some(owner), Some(key)) = (&earlier.introduction.key, &introduction.key)
            && owner != key
        {
            let message = format!("the name {} belongs to a worker with another key", introduction.name);
            return Err(Refusal::new(RefusalKind::Forbidden, message).field("name"));
        }
        for (number, source) in templates.iter().enumerate() {
            self.registry.check(source)?;
            let key = &source.template.key;
            if templates[..number].iter().any(|other| other.template.key == *key && other.digest != source.digest) {
                let message = format!("template {key} is given twice with different contents");
                return Err(Refusal::new(RefusalKind::TemplateConflict, message).field("templates"));
            }
        }
        for capability in &introduction.capabilities {
            if let Capability::Exact(key) = capability
                && !templates.iter().any(|source| source.template.key == *key)
            {
                self.registry
                    .resolve(&key.namespace, &key.name, Some(&key.version))
                    .map_err(|refusal| refusal.field("templates"))?;
            }
        }
        Ok(())
    }

    /// Ends what was registered under this name or on this connection. The same process keeps the batches that it lists
    /// and gives back, unrun, those that never reached it; another process means that the earlier one is gone.
    fn replace_earlier(
        &mut self,
        now: Now,
        peer: PeerId,
        introduction: &WorkerIntroduction,
        listed: &[BatchId],
        out: &mut Effects,
    ) -> Succession {
        let on_connection = self.workers.by_peer(peer).map(|worker| worker.registration);
        let by_name = self.workers.by_name(&introduction.name).map(|worker| worker.registration);
        if let Some(other) = on_connection.filter(|&other| Some(other) != by_name) {
            self.lose_worker(now, other, "superseded", "another worker registered on its connection", out);
        }
        let Some(earlier) = by_name.and_then(|registration| self.workers.get(registration)) else {
            return Succession::default();
        };
        let (registration, drained) = (earlier.registration, earlier.drained.clone());
        if earlier.introduction.incarnation != introduction.incarnation {
            self.lose_worker(now, registration, "superseded", "a new process registered under the worker's name", out);
            return Succession::default();
        }
        let (claimed, unreceived): (Vec<BatchId>, Vec<BatchId>) =
            earlier.batches.iter().partition(|id| listed.contains(id));
        let lost_on_the_way = !unreceived.is_empty();
        let why: Arc<str> = Arc::from("not received by the worker");
        for id in unreceived {
            self.give_back(now, id, &why, out);
        }
        self.remove_worker(registration, "reconnected", out);
        Succession { claimed, lost_on_the_way, drained }
    }

    /// A message came from a connection: notes the sign of life and returns whose it is. An unknown sender is told to
    /// register.
    pub(crate) fn heard_from(&mut self, now: Now, origin: Origin, out: &mut Effects) -> Option<RegistrationId> {
        let registration = self.see(now, origin.peer);
        if registration.is_none() {
            out.reply(origin, Reply::RegisterAgain { reason: "the broker knows no worker on this connection" });
        }
        registration
    }

    /// Notes that the worker on this connection lives, if there is one.
    pub(crate) fn see(&mut self, now: Now, peer: PeerId) -> Option<RegistrationId> {
        let registration = self.workers.by_peer(peer)?.registration;
        let suspect_at = now.mono + SUSPECT_HEARTBEATS * self.config.heartbeat_ms;
        let deadlines = &mut self.deadlines;
        self.workers.change(registration, |worker| {
            worker.seen = now.mono;
            if worker.standing == Standing::Suspect {
                worker.standing = Standing::Active;
                // As a suspect it was next looked at when it would be lost, which may be long after three heartbeats.
                deadlines.remove(worker.check_at, Deadline::Worker(registration));
                worker.check_at = suspect_at;
                deadlines.add(suspect_at, Deadline::Worker(registration));
            }
        });
        Some(registration)
    }

    pub(crate) fn worker_beat(
        &mut self,
        now: Now,
        origin: Origin,
        registration: RegistrationId,
        beat: Beat,
        out: &mut Effects,
    ) {
        let Some(known) = self.heard_from(now, origin, out) else { return };
        let worker = self.workers.get(known).expect("heard from just now");
        if known != registration {
            out.reply(origin, Reply::RegisterAgain { reason: "the registration is not the present one" });
            return;
        }
        if worker.unproven {
            self.workers.change(known, |worker| worker.unproven = false);
        }
        let worker = self.workers.get(known).expect("heard from just now");
        if worker.standing == Standing::Unreachable {
            out.reply(origin, Reply::RegisterAgain { reason: "a message to the worker could not be delivered" });
        } else if self.settled_slots(now, worker) > beat.in_flight {
            out.reply(origin, Reply::RegisterAgain { reason: "the worker does not have a batch that was sent to it" });
        } else {
            out.reply(origin, Reply::HeartbeatAcknowledged);
            self.ask_to_drain(known, out);
        }
    }

    /// Slots of batches so old that the worker must have seen them before it sent this heartbeat. A worker may stop a
    /// step at once or run it on; but of a batch that it has, it runs something or reports the completion.
    fn settled_slots(&self, now: Now, worker: &Worker) -> u32 {
        let age = 2 * self.config.heartbeat_ms;
        worker
            .batches
            .iter()
            .map(|&id| &self.batches[id])
            .filter(|batch| now.mono.since(batch.told) > age)
            .map(|batch| match count(batch.open_items().count()) {
                0 => u32::from(batch.items.iter().any(|item| item.status.holds_slot())),
                open => open,
            })
            .sum()
    }

    pub(crate) fn peer_unreachable(&mut self, peer: PeerId, out: &mut Effects) {
        let Some(worker) = self.workers.by_peer(peer) else { return };
        let registration = worker.registration;
        if worker.standing == Standing::Unreachable {
            return;
        }
        self.workers.change(registration, |worker| worker.standing = Standing::Unreachable);
        self.suspect(registration, "a message to it could not be delivered", out);
    }

    fn suspect(&self, registration: RegistrationId, why: &str, out: &mut Effects) {
        let worker = self.workers.get(registration).map(Worker::name);
        out.publish(Notice { worker, reason: reason(why), ..Notice::new(NoticeKind::WorkerSuspected) });
    }

    /// Looks at how long a worker has been silent.
    pub(crate) fn worker_due(&mut self, now: Now, registration: RegistrationId, out: &mut Effects) {
        let Some(worker) = self.workers.get(registration) else { return };
        let awaited = worker.standing == Standing::Awaited;
        let patience = if awaited { self.config.recovery_grace_ms } else { self.config.worker_timeout_ms };
        let lost_at = worker.seen + patience;
        if now.mono >= lost_at {
            let why = if awaited {
                "the worker did not come back after the broker's restart"
            } else {
                "the worker fell silent"
            };
            self.lose_worker(now, registration, "lost", why, out);
            return;
        }
        let suspect_at = worker.seen + SUSPECT_HEARTBEATS * self.config.heartbeat_ms;
        let active = worker.standing == Standing::Active;
        if active && now.mono >= suspect_at {
            self.workers.change(registration, |worker| worker.standing = Standing::Suspect);
            self.suspect(registration, "it missed three heartbeats", out);
        }
        let next = if active && now.mono < suspect_at { suspect_at.min(lost_at) } else { lost_at };
        self.workers.change(registration, |worker| worker.check_at = next);
        self.deadlines.add(next, Deadline::Worker(registration));
    }

    pub(crate) fn worker_left(
        &mut self,
        now: Now,
        origin: Origin,
        registration: RegistrationId,
        drain: bool,
        why: &str,
        out: &mut Effects,
    ) {
        let known = self.workers.by_peer(origin.peer).map(|worker| worker.registration);
        let refusal = (known != Some(registration)).then(|| {
            let message = format!("registration {registration} is not the present one on this connection");
            Refusal::new(RefusalKind::UnknownWorker, message).field("registration_id")
        });
        out.audit("UnregisterWorker", origin, None, refusal.as_ref().map_or(Ok(()), Err));
        if let Some(refusal) = refusal {
            out.refuse(origin, refusal);
        } else if drain {
            self.workers.change(registration, |worker| {
                worker.seen = now.mono;
                worker.standing = Standing::Draining;
                worker.leaving = Some(origin);
            });
            self.leave_if_drained(registration, out);
        } else {
            let why = if why.is_empty() { "the worker left" } else { why };
            let steps_returned = self.unregister(now, registration, why, out);
            out.reply(origin, Reply::WorkerUnregistered { registration, steps_returned });
        }
    }

    /// Ends the registration of a worker that says itself that it runs nothing any more: its open steps go back without
    /// using an attempt. Returns how many those were.
    fn unregister(&mut self, now: Now, registration: RegistrationId, why: &str, out: &mut Effects) -> u32 {
        let worker = self.workers.get(registration).expect("the caller has looked it up");
        let name = worker.name();
        let batches: Vec<BatchId> = worker.batches.iter().copied().collect();
        let returned: Arc<str> = Arc::from(why);
        let steps = batches.into_iter().map(|batch| self.give_back(now, batch, &returned, out)).sum();
        self.remove_worker(registration, "unregistered", out);
        out.publish(Notice { worker: Some(name), reason: reason(why), ..Notice::new(NoticeKind::WorkerUnregistered) });
        steps
    }

    /// Takes the open steps of a batch back unrun and closes it, without a completion if there was none. Returns how many
    /// steps those were.
    fn give_back(&mut self, now: Now, id: BatchId, why: &Arc<str>, out: &mut Effects) -> u32 {
        let open: Vec<usize> = self.batches[id].open_items().collect();
        for &item in &open {
            let task = self.batches[id].items[item].task;
            self.return_item(now, id, item, why, out);
            self.advance_task(now, task, out);
        }
        let batch = self.batches.get_mut(id).expect("a worker's batches are open");
        if let Completion::Awaited = batch.completion {
            batch.completion = Completion::Waived;
        }
        let state = batch.closing().expect("its completion is set and no step of it is open");
        self.close_batch(id, state, out);
        count(open.len())
    }

    /// Closes the registration of a draining worker that has nothing left.
    pub(crate) fn leave_if_drained(&mut self, registration: RegistrationId, out: &mut Effects) {
        let Some(worker) = self.workers.get(registration) else { return };
        let Some(origin) = worker.leaving.filter(|_| worker.batches.is_empty()) else { return };
        let worker = Some(worker.name());
        self.remove_worker(registration, "drained", out);
        out.publish(Notice { worker, reason: reason("drained"), ..Notice::new(NoticeKind::WorkerUnregistered) });
        out.reply(origin, Reply::WorkerUnregistered { registration, steps_returned: 0 });
    }

    /// Gives a worker up; its open steps fail with it.
    fn lose_worker(&mut self, now: Now, registration: RegistrationId, end: &'static str, why: &str, out: &mut Effects) {
        let worker = self.workers.get(registration).expect("the caller has looked it up");
        let (name, peer) = (worker.name(), worker.peer);
        let batches: Vec<BatchId> = worker.batches.iter().copied().collect();
        // No step may go back to the one that is being given up.
        self.workers.change(registration, |worker| worker.standing = Standing::Unreachable);
        let batches = if planted!(LostStepsStay) && end == "lost" { Vec::new() } else { batches };
        for batch in batches {
            self.lose_batch(now, batch, why, out);
        }
        self.remove_worker(registration, end, out);
        out.publish(Notice { worker: Some(name), reason: reason(why), ..Notice::new(NoticeKind::WorkerLost) });
        if let Some(peer) = peer
            && end == "lost"
        {
            let message = WorkerMessage::RegisterAgain { reason: "the broker gave this worker up as lost" };
            out.deliveries.push(Deliver::Worker { peer, message });
        }
    }

    fn remove_worker(&mut self, registration: RegistrationId, end: &'static str, out: &mut Effects) {
        let worker = self.workers.remove(registration).expect("the caller has looked it up");
        self.deadlines.remove(worker.check_at, Deadline::Worker(registration));
        out.saves.push(Save::WorkerEnded { registration, reason: end });
    }
}
