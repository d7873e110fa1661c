//! The broker process around the real engine, step by step as `src/server/event_loop.rs` does it: events gather while one
//! group is with the store, a commit takes time, and what a group allows is released when it is known to be durable.

use std::collections::{BTreeSet, VecDeque};

use tasker_engine::{Deliver, Effects, Engine, Event, Mono, Now, Origin, Read, Reply, Save, Wall};

use crate::bugs::Bug;
use crate::network::Message;
use crate::run::{Happening, Sim};

/// Midday of a day in 2026, so that wall and monotonic clock cannot be taken for each other.
pub(crate) const START_WALL_MS: i64 = 1_770_000_000_000;

/// As long as this the lease of a silent broker keeps the lane from a standby.
pub(crate) const LEASE_MS: u64 = 3_000;

/// What gathers for one commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub events: Vec<Event>,
    /// Saves with the time of their decision.
    pub decided: Vec<(Now, Vec<Save>)>,
    pub deliveries: Vec<Deliver>,
    /// What the server itself has to say.
    pub messages: Vec<(Origin, Reply)>,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.decided.iter().all(|(_, saves)| saves.is_empty())
    }

    pub fn saves(&self) -> impl Iterator<Item = &Save> {
        self.decided.iter().flat_map(|(_, saves)| saves)
    }

    fn take(&mut self, now: Now, effects: Effects) {
        if !effects.saves.is_empty() {
            self.decided.push((now, effects.saves));
        }
        self.deliveries.extend(effects.deliveries);
    }
}

/// What the store made of the group that is with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Committed,
    Refused,
    /// Another broker has the lane.
    Fenced,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub number: u64,
    pub group: Group,
    pub since: u64,
    pub verdict: Option<Verdict>,
}

/// One broker process.
#[derive(Debug)]
pub(crate) struct Broker {
    pub epoch: u64,
    /// Its monotonic clock shows this much more than virtual time.
    pub base_ms: u64,
    pub engine: Engine,
    pub inbox: VecDeque<Event>,
    pub gathering: Group,
    pub in_flight: Option<InFlight>,
    pub up: bool,
    pub paused_until: u64,
    turn_at: Option<u64>,
    wakes_at: Option<u64>,
}

impl Sim {
    pub fn clock(&self, process: usize) -> Now {
        let wall = START_WALL_MS + i64::try_from(self.now).expect("a short run") + self.wall_offset_ms;
        Now { mono: Mono(self.now + self.brokers[process].base_ms), wall: Wall(wall) }
    }

    /// The database's clock does not jump.
    pub fn database_clock(&self, process: usize) -> Now {
        let wall = START_WALL_MS + i64::try_from(self.now).expect("a short run");
        Now { mono: Mono(self.now + self.brokers[process].base_ms), wall: Wall(wall) }
    }

    /// A new process takes the lane and what the store holds.
    pub fn start_broker(&mut self) {
        let process = self.brokers.len();
        let base_ms = 1_000_000 * (process as u64 + 1);
        if process > 0 {
            self.store.shift_clock(base_ms - self.lane.base_ms);
        }
        self.lane.epoch += 1;
        self.lane.base_ms = base_ms;
        let seed = [self.rng.next(), self.rng.next()];
        let engine = Engine::new(self.config.clone(), seed);
        self.brokers.push(Broker {
            epoch: self.lane.epoch,
            base_ms,
            engine,
            inbox: VecDeque::new(),
            gathering: Group::default(),
            in_flight: None,
            up: true,
            paused_until: 0,
            turn_at: None,
            wakes_at: None,
        });
        self.active = process;
        self.inbox_handed.clear();
        self.net.reset_all();
        self.note(|| format!("broker {process} takes the lane"));
        self.recover(process, None);
        self.turn(process);
    }

    /// Builds the engine from what is durable; with the commands that are about to be handled again it succeeds the present
    /// one.
    pub fn recover(&mut self, process: usize, undecided: Option<&BTreeSet<Origin>>) {
        let now = self.clock(process);
        let seed = [self.rng.next(), self.rng.next()];
        let mut effects = Effects::default();
        let snapshot = self.store.snapshot(self.database_clock(process));
        let mut engine = Engine::recover(self.config.clone(), seed, now, snapshot, &mut effects);
        let broker = &mut self.brokers[process];
        if let Some(undecided) = undecided {
            engine.succeed(now, &broker.engine, undecided, &mut effects);
        }
        broker.engine = engine;
        broker.gathering.take(now, effects);
    }

    /// A message has arrived, or an answer of the store.
    pub fn arrived(&mut self, process: usize, event: Event) {
        if !self.brokers[process].up {
            return;
        }
        if let Event::TasksSubmitted { origin, .. } = &event
            && self.brokers[process].in_flight.as_ref().is_some_and(|group| group.since + 5_000 < self.now)
        {
            let refusal = crate::replay::refusal(tasker_engine::RefusalKind::Unavailable);
            self.send(origin.peer, Message::Reply(origin.correlation, Reply::Refused(refusal)));
            return;
        }
        self.brokers[process].inbox.push_back(event);
        let at = self.now + self.rng.below(4);
        self.plan_turn(process, at);
    }

    fn plan_turn(&mut self, process: usize, at: u64) {
        let broker = &mut self.brokers[process];
        if broker.turn_at.is_none_or(|planned| planned > at || planned < self.now) {
            broker.turn_at = Some(at);
            self.queue.at(at, Happening::Turn(process));
        }
    }

    /// One round of the loop: takes what is there, decides once, hands over.
    pub fn turn(&mut self, process: usize) {
        let broker = &mut self.brokers[process];
        broker.turn_at = None;
        if !broker.up || broker.paused_until > self.now {
            return;
        }
        let events: Vec<Event> = broker.inbox.drain(..).collect();
        self.decide(process, events);
        self.hand_over(process);
    }

    pub fn decide(&mut self, process: usize, events: impl IntoIterator<Item = Event>) {
        let now = self.clock(process);
        let mut effects = Effects::default();
        for event in events {
            self.note(|| format!("  takes {event:?}"));
            let broker = &mut self.brokers[process];
            if let Event::StepProgressed { .. } = event {
                // As in the server: it belongs to no group.
                let before = (effects.saves.len(), effects.deliveries.len());
                broker.engine.handle(now, event, &mut effects);
                let told = effects.deliveries.drain(before.1..).all(|told| matches!(told, Deliver::Publish(_)));
                assert!(told && effects.saves.len() == before.0, "how far a step is, is published and nothing else");
                continue;
            }
            broker.gathering.events.push(event.clone());
            broker.engine.handle(now, event, &mut effects);
        }
        let broker = &mut self.brokers[process];
        broker.engine.pass_deadlines(now, &mut effects);
        broker.engine.plan(now, &mut effects);
        let next = broker.engine.next_deadline();
        let early = self.too_early(&mut effects.deliveries);
        self.brokers[process].gathering.take(now, effects);
        for delivery in early {
            self.checks.deliveries += 1;
            self.check_delivery(process, &delivery, &Group::default());
            self.deliver(process, delivery);
        }
        if let Some(next) = next {
            let at = next.0.saturating_sub(self.brokers[process].base_ms).max(self.now + 1);
            let broker = &mut self.brokers[process];
            if broker.wakes_at.is_none_or(|planned| planned > at || planned <= self.now) {
                broker.wakes_at = Some(at);
                self.queue.at(at, Happening::Turn(process));
            }
        }
    }

    /// What a planted bug lets out before its group is durable.
    fn too_early(&mut self, deliveries: &mut Vec<Deliver>) -> Vec<Deliver> {
        let Some(bug) = self.bug else { return Vec::new() };
        let wanted = |delivery: &Deliver| match delivery {
            Deliver::Reply { .. } => bug == Bug::AnswerBeforeCommit,
            Deliver::Worker { .. } => bug == Bug::BatchBeforeCommit,
            Deliver::Read(_) => bug == Bug::ReadBeforeCommit,
            Deliver::Publish(_) | Deliver::InboxLater { .. } => false,
        };
        let (early, rest) = std::mem::take(deliveries).into_iter().partition(wanted);
        *deliveries = rest;
        early
    }

    pub fn hand_over(&mut self, process: usize) {
        if self.brokers[process].in_flight.is_some() || !self.brokers[process].up {
            return;
        }
        let group = std::mem::take(&mut self.brokers[process].gathering);
        if group.is_empty() {
            self.release(process, group);
            return;
        }
        self.groups += 1;
        let number = self.groups;
        let since = self.now;
        self.brokers[process].in_flight = Some(InFlight { number, group, since, verdict: None });
        let takes_ms = self.commit_takes();
        self.queue.at(self.now + takes_ms, Happening::Written { process, number });
    }

    fn commit_takes(&mut self) -> u64 {
        if self.faulty() && self.rng.chance(self.faults.slow_commit) {
            self.rng.within(50, 9_000)
        } else {
            self.rng.within(1, 12)
        }
    }

    /// The store has done what it does with a group; the broker hears of it at once or, when the connection broke in the
    /// middle, after it has read back what became of it.
    pub fn written(&mut self, process: usize, number: u64) {
        let broker = &self.brokers[process];
        let known = broker.in_flight.as_ref().is_some_and(|group| group.number == number && group.verdict.is_none());
        if !broker.up || !known {
            return;
        }
        if broker.paused_until > self.now && self.rng.chance(500) {
            // It was stopped in the middle of the transaction.
            self.queue.at(broker.paused_until, Happening::Written { process, number });
            return;
        }
        let verdict = self.write(process);
        let broker = &mut self.brokers[process];
        let group = broker.in_flight.as_mut().expect("looked at above");
        group.verdict = Some(verdict);
        let mut heard_at = self.now;
        if self.faulty() && self.rng.chance(self.faults.lost_acknowledgement) {
            heard_at += self.rng.within(10, 3_000);
            if self.bug == Some(Bug::UnknownCommitRepeated) && verdict == Verdict::Committed {
                self.write(process);
            }
        }
        self.queue.at(heard_at, Happening::Verdict { process, number });
    }

    /// What the store makes of the group in flight.
    pub fn write(&mut self, process: usize) -> Verdict {
        let fenced = self.brokers[process].epoch != self.lane.epoch;
        if fenced && self.bug != Some(Bug::FenceNotChecked) {
            return Verdict::Fenced;
        }
        let group = std::mem::take(&mut self.brokers[process].in_flight.as_mut().expect("a group in flight").group);
        let refused = self.refuses(&group);
        if !refused {
            self.apply(process, &group);
        }
        self.brokers[process].in_flight.as_mut().expect("a group in flight").group = group;
        if refused { Verdict::Refused } else { Verdict::Committed }
    }

    /// Whether the database takes the rows of a group: some payloads it never takes, and some groups fall to chance.
    pub fn refuses(&mut self, group: &Group) -> bool {
        if self.faulty() && self.rng.chance(self.faults.refused_group) {
            return true;
        }
        group.saves().any(|save| match save {
            Save::Task(task) => crate::client::is_unstorable(&task.context),
            Save::StepSettled(settled) => crate::client::is_unstorable(&settled.result),
            Save::ResultReceived(received) => crate::client::is_unstorable(&received.payload),
            _ => false,
        })
    }

    /// The group becomes durable.
    pub fn apply(&mut self, process: usize, group: &Group) {
        let epoch = self.brokers[process].epoch;
        self.lane.seq += 1;
        self.check_chain(epoch);
        let database_ms = START_WALL_MS + i64::try_from(self.now).expect("a short run");
        for (decided, saves) in &group.decided {
            for save in saves {
                self.note(|| format!("  saves {save:?}"));
                self.check_save(save);
            }
            // A wall clock that was ahead when a task came in starts it early by that much, and no more.
            let wall = Wall(database_ms + self.wall_offset_most_ms);
            self.store.commit(Now { mono: decided.mono, wall }, saves.clone());
        }
    }

    /// The broker hears what became of its group.
    pub fn verdict(&mut self, process: usize, number: u64) {
        let broker = &self.brokers[process];
        let Some(group) = broker.in_flight.as_ref().filter(|group| broker.up && group.number == number) else { return };
        let Some(verdict) = group.verdict else { return };
        if broker.paused_until > self.now {
            self.queue.at(broker.paused_until, Happening::Verdict { process, number });
            return;
        }
        match verdict {
            Verdict::Committed => self.release_in_flight(process),
            Verdict::Refused if self.bug == Some(Bug::RefusedGroupReleased) => self.release_in_flight(process),
            Verdict::Refused => self.start_over(process),
            Verdict::Fenced => {
                self.note(|| format!("broker {process} has lost the lane"));
                self.brokers[process].up = false;
            }
        }
        self.turn(process);
    }

    pub fn release_in_flight(&mut self, process: usize) {
        if let Some(in_flight) = self.brokers[process].in_flight.take() {
            self.release(process, in_flight.group);
        }
    }

    /// The group is durable: what it allows may leave.
    pub fn release(&mut self, process: usize, mut group: Group) {
        for (to, reply) in std::mem::take(&mut group.messages) {
            self.send(to.peer, Message::Reply(to.correlation, reply));
        }
        for delivery in std::mem::take(&mut group.deliveries) {
            self.checks.deliveries += 1;
            self.check_delivery(process, &delivery, &group);
            self.deliver(process, delivery);
        }
        for save in group.saves() {
            if let Save::InboxTaken { row, .. } = save {
                self.inbox_handed.remove(row);
            }
        }
        let broker = &self.brokers[process];
        if broker.gathering.is_empty() && broker.in_flight.is_none() && process == self.active {
            self.check_agreement(process);
        }
    }

    /// Each broker has an inbox reader of its own: what a former owner still says concerns nobody.
    pub fn hand_in_later(&mut self, process: usize, rows: &[i64]) {
        if process == self.active {
            self.inbox_handed.retain(|row| !rows.contains(row));
        }
    }

    fn deliver(&mut self, process: usize, delivery: Deliver) {
        match delivery {
            Deliver::Reply { to, reply } => self.send(to.peer, Message::Reply(to.correlation, reply)),
            Deliver::Worker { peer, message } => self.send(peer, Message::Worker(message)),
            Deliver::Publish(_) => {}
            Deliver::InboxLater { rows } => self.hand_in_later(process, &rows),
            Deliver::Read(read) => {
                let at = self.now + self.read_takes();
                self.queue.at(at, Happening::Read { process, read });
            }
        }
    }

    fn read_takes(&mut self) -> u64 {
        if self.faulty() && self.rng.chance(50) { self.rng.within(20, 2_000) } else { self.rng.within(0, 5) }
    }

    /// The store reads; its answer travels for a while, and may be old when it arrives.
    pub fn read(&mut self, process: usize, read: Read) {
        match self.answer(process, read) {
            Ok(event) => {
                let at = self.now + self.read_takes();
                self.queue.at(at, Happening::Answer { process, event });
            }
            Err(answer) => {
                let (to, message) = *answer;
                self.send(to.peer, message);
            }
        }
    }

    /// What the store says: to the engine, or to whoever asked.
    pub fn answer(&self, process: usize, read: Read) -> Result<Event, Box<(Origin, Message)>> {
        let now = self.database_clock(process);
        match read {
            Read::IdempotencyKeys { submission, keys } => {
                let found = keys.into_iter().map(|key| {
                    let id = *self.store.keys.get(&key)?;
                    Some((id, self.store.tasks[&id].new.template.key.clone()))
                });
                Ok(Event::KeysLookedUp { submission, found: found.collect() })
            }
            Read::Task { to, operation, asked } => {
                let task = self.store.task_snapshot(now, operation.task).map(Box::new);
                Ok(Event::TaskLoaded { origin: to, operation, asked, task })
            }
            Read::EndedTasks { reports } => {
                let tasks = reports.tasks().into_iter().filter_map(|task| self.store.task_snapshot(now, task));
                let tasks = tasks.collect();
                Ok(Event::EndedTasksLoaded { reports, tasks })
            }
            Read::Explanation { to, query, live: _ } => Err(Box::new((to, self.stored(to, query.task)))),
            Read::Status { to, query, progress: _ } => Err(Box::new((to, self.stored(to, query.task)))),
            Read::Waited { to, task } | Read::Tried { to, task } => Err(Box::new((to, self.stored(to, task)))),
        }
    }

    fn stored(&self, to: Origin, task: tasker_engine::TaskId) -> Message {
        Message::Stored(to.correlation, task, self.store.tasks.get(&task).and_then(|task| task.state))
    }

    /// The process is gone. A commit that was under way may come through all the same.
    pub fn crash(&mut self, process: usize) {
        if !self.brokers[process].up {
            return;
        }
        self.note(|| format!("broker {process} crashes"));
        self.brokers[process].up = false;
        let open = self.brokers[process].in_flight.as_ref().is_some_and(|group| group.verdict.is_none());
        if open && self.rng.chance(500) {
            if self.bug == Some(Bug::GroupTornByCrash) {
                let group = &mut self.brokers[process].in_flight.as_mut().expect("looked at above").group;
                group.decided.iter_mut().for_each(|(_, saves)| saves.truncate(saves.len().div_ceil(2)));
            }
            self.write(process);
        }
        if process == self.active {
            let at = self.now + self.rng.within(1, 6_000);
            self.queue.at(at, Happening::StartBroker { after: process });
        }
    }

    /// The process stops and wakes later; when its lease runs out meanwhile, a standby takes over.
    pub fn pause(&mut self, process: usize, for_ms: u64) {
        if !self.brokers[process].up || self.brokers[process].paused_until > self.now {
            return;
        }
        self.note(|| format!("broker {process} stops for {for_ms} ms"));
        self.brokers[process].paused_until = self.now + for_ms;
        self.queue.at(self.now + for_ms, Happening::Turn(process));
        if for_ms > LEASE_MS {
            self.queue.at(self.now + LEASE_MS, Happening::StartBroker { after: process });
        }
    }
}
