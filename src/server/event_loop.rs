//! The one thread that owns the engine. It takes everything that is waiting, lets the engine decide once, and hands one
//! commit group to the writer; while that commits, the next group gathers. Deliveries leave when their group is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use tasker_engine::{Deliver, Effects, Engine, Event, HealthCounts, Mono, Now, Refusal, Reply, Save};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tracing::warn;

use super::admission::{self, UNDECIDED_REQUESTS_MAX, Weight};
use super::clock::Clock;
use super::ear::Ear;
use super::gathered::Gathered;
use super::health::{Health, Postgres};
use super::inbox;
use super::metrics::{Numbers, Question};
use super::reads::Reads;
use super::recovery::Recovery;
use super::writer::{Group, Verdict};
use crate::gateway::{self, Budget, Incoming, Outgoing, Received};
use crate::otel::Tracer;
use crate::protocol::{HealthLevel, TasksAnnounced};

/// Events handled before their group is handed over. Beyond some 3,000 events a larger group only adds latency.
const GROUP_EVENTS_MAX: usize = 3_000;

/// How often the loop looks up when nothing happens, in milliseconds.
const LOOK_UP_MS: u64 = 1_000;

/// Time without a look at the peers that counts as a stall, in milliseconds: twice the time between two looks.
const STALL_MS: u64 = 2 * LOOK_UP_MS;

/// What the rest of the server tells the loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// The writer is done with the group in flight.
    Written(Verdict),
    /// The store has answered the engine.
    Answer(Event),
    /// The writer has no connection, or has one again.
    Postgres(Postgres),
    /// Say that the loop turns.
    Turn(oneshot::Sender<()>),
    /// Somebody watches.
    Look(Question),
    /// Hand out nothing any more, and end when no worker has anything to report, but within this time.
    Stop(Duration),
}

/// What the loop hears first.
enum First {
    Input(Input),
    Received(Received),
    /// The gateway is gone.
    Deaf,
    Time,
}

/// What the loop works with.
pub(crate) struct Parts {
    pub engine: Engine,
    pub clock: Clock,
    pub peers: Receiver<Received>,
    /// Told when something has come from there.
    pub arrived: Arc<Notify>,
    /// Where the bytes of messages are given back that are done with.
    pub budget: Arc<Budget>,
    pub inputs: UnboundedReceiver<Input>,
    pub writer: UnboundedSender<Group>,
    pub ear: Ear,
    pub reads: Reads,
    pub health: Health,
    pub numbers: Numbers,
    /// Told of spans, where somebody traces.
    pub tracer: Option<Tracer>,
    pub recovery: Recovery,
    /// Told what became of the inbox rows that were handed in.
    pub inbox: UnboundedSender<inbox::Handed>,
    /// Told when an application says that there is something in the inbox. However often: it remembers one.
    pub announced: Arc<Notify>,
}

/// How the loop ended.
pub(crate) enum End {
    /// As asked.
    Stopped,
    /// It cannot go on.
    Failed(super::Error),
}

/// Runs until told to stop. What recovery decided goes out with the first group.
pub(crate) fn run(parts: Parts, writing: &Runtime, recovered: Effects) -> End {
    let gathering = Gathered::of(recovered);
    let heard = parts.clock.now().mono;
    let mut state = Loop {
        parts,
        writing,
        gathering,
        in_flight: None,
        held: VecDeque::new(),
        heard,
        undecided: Weight::default(),
        at_once: Vec::new(),
        stop_by: None,
        stopping: false,
        deaf: false,
    };
    state.hand_over();
    loop {
        if let Some(end) = state.turn() {
            return end;
        }
    }
}

pub(super) struct Loop<'a> {
    pub(super) parts: Parts,
    /// Where the writer runs: it goes on whenever the loop waits.
    pub(super) writing: &'a Runtime,
    pub(super) gathering: Gathered,
    pub(super) in_flight: Option<Gathered>,
    /// Inputs that came while a verdict was awaited.
    pub(super) held: VecDeque<Input>,
    /// When everything was taken that peers had said.
    heard: Mono,
    /// What was taken in this turn, and is yet to be decided on.
    undecided: Weight,
    /// What waits for no commit: refusals of what the engine does not see, and acknowledged heartbeats.
    at_once: Vec<Outgoing>,
    /// The broker drains, until then at most.
    stop_by: Option<Instant>,
    /// Nothing is taken any more; what has gathered is committed, and then the loop ends.
    stopping: bool,
    /// The gateway's thread has ended by itself: nobody can be heard or answered any more.
    deaf: bool,
}

impl Loop<'_> {
    /// One round: wait, take what is there, decide, hand over.
    fn turn(&mut self) -> Option<End> {
        let mut events = VecDeque::new();
        let mut verdict = None;
        let heard_all = self.wait(&mut events, &mut verdict);
        self.excuse_stall(heard_all);
        self.send_at_once();
        match verdict {
            Some(Verdict::Committed { rows }) => self.committed(rows),
            Some(Verdict::Refused(error)) => {
                if let Err(error) = self.start_over(&error) {
                    return Some(End::Failed(error));
                }
            }
            Some(Verdict::Failed(error)) => return Some(End::Failed(error)),
            None => {}
        }
        // Replaying a refused group may have taken long.
        self.excuse_stall(false);
        let undecided = std::mem::take(&mut self.undecided);
        self.parts.ear.note_turn(events.len(), undecided.bytes);
        self.gathering.weight.bytes += undecided.bytes;
        let now = self.parts.clock.now();
        for event in events {
            self.handle(now, event);
        }
        if self.listens() {
            self.parts.engine.pass_deadlines(now, &mut self.gathering.effects);
        }
        self.decide([]);
        self.parts.numbers.note_steps(&self.parts.engine);
        self.stopping = self.is_drained();
        if !self.waits_for_company() {
            self.hand_over();
        }
        if self.in_flight.is_some() {
            // Whoever has no answer to it sends it again, to the next broker.
            let in_vain = self.is_time_up() && self.parts.health.is_postgres_down();
            return in_vain.then_some(End::Failed(super::Error::Unfinished));
        }
        if self.deaf {
            return Some(End::Failed(gateway::Stopped.into()));
        }
        self.stopping.then_some(End::Stopped)
    }

    /// Whether peers are heard. While they are not, nobody's silence means anything.
    fn listens(&self) -> bool {
        !self.stopping && !self.deaf
    }

    /// Holds it against nobody that the broker stood still: was stopped, starved, or busy with a replay. What peers said
    /// meanwhile may still be in a socket.
    fn excuse_stall(&mut self, heard_all: bool) {
        let now = self.parts.clock.now();
        let stalled_ms = now.mono.since(self.heard);
        if stalled_ms > STALL_MS {
            warn!(stalled_ms, "the broker stood still, and excuses its workers for that time");
            self.parts.engine.excuse(now, stalled_ms);
        }
        if heard_all || stalled_ms > STALL_MS {
            self.heard = now.mono;
        }
    }

    /// Waits for the first input or deadline, then takes all that is waiting. Returns whether that is all that peers said.
    fn wait(&mut self, events: &mut VecDeque<Event>, verdict: &mut Option<Verdict>) -> bool {
        for input in std::mem::take(&mut self.held) {
            self.take_input(input, events, verdict);
        }
        if verdict.is_some() || !events.is_empty() {
            return false;
        }
        let look_up = self.parts.clock.now().mono + LOOK_UP_MS;
        let next = self.parts.engine.next_deadline().filter(|_| self.listens());
        let until = next.and_then(|at| self.parts.clock.instant(at.min(look_up)));
        // Past it only the writer is waited for.
        let stop_by = self.stop_by.filter(|_| !self.is_time_up());
        // While a group is with the writer, its verdict is awaited.
        let company = self.gathering.may_wait_until().filter(|_| self.in_flight.is_none());
        let until = until.into_iter().chain(stop_by).chain(company).min();
        match self.first(until) {
            First::Input(input) => self.take_input(input, events, verdict),
            First::Received(received) => self.take_received(received, events),
            First::Deaf => self.deaf = true,
            First::Time => {}
        }
        if next.is_none() {
            // Nobody is held to anything, and the loop may have waited for hours.
            self.heard = self.parts.clock.now().mono;
        }
        while verdict.is_none() {
            let Ok(input) = self.parts.inputs.try_recv() else { break };
            self.take_input(input, events, verdict);
        }
        // Refused ones count, too: a flood of them must not keep the loop from the verdict.
        for _ in 0..GROUP_EVENTS_MAX {
            if self.undecided.requests >= UNDECIDED_REQUESTS_MAX {
                return false;
            }
            if !self.listens() {
                return true;
            }
            let Ok(received) = self.parts.peers.try_recv() else { return true };
            self.take_received(received, events);
        }
        false
    }

    /// Waits for the first of what can come, and lets the writer go on meanwhile.
    fn first(&mut self, until: Option<Instant>) -> First {
        let (listens, in_flight) = (self.listens(), self.in_flight.is_some());
        let Parts { inputs, peers, arrived, ear, .. } = &mut self.parts;
        let peer = async {
            loop {
                match peers.try_recv() {
                    Ok(received) => return First::Received(received),
                    Err(TryRecvError::Disconnected) => return First::Deaf,
                    Err(TryRecvError::Empty) => tokio::select! {
                        () = ear.hear(), if ear.listens() => {}
                        () = arrived.notified() => {}
                    },
                }
            }
        };
        self.writing.block_on(async {
            if in_flight {
                // Under load something has always come: the writer gets its turn before that is looked at.
                tokio::task::yield_now().await;
            }
            tokio::select! {
                biased;
                Some(input) = inputs.recv() => First::Input(input),
                first = peer, if listens => first,
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now).into()), if until.is_some() => First::Time,
            }
        })
    }

    fn take_input(&mut self, input: Input, events: &mut VecDeque<Event>, verdict: &mut Option<Verdict>) {
        match input {
            Input::Written(outcome) => {
                self.parts.clock.commit_ended();
                *verdict = Some(outcome);
            }
            // They stay in the inbox for the next broker.
            Input::Answer(Event::InboxTaken { .. }) if self.stop_by.is_some() => {}
            Input::Answer(event) => events.push_back(event),
            Input::Postgres(state) => {
                self.parts.health.set_postgres(state);
                self.parts.numbers.shared().set_postgres(state == Postgres::Up);
            }
            // Whoever asked may not wait any more.
            Input::Turn(tell) => drop(tell.send(())),
            Input::Look(question) => {
                let now = self.parts.clock.now();
                self.parts.numbers.answer(question, &self.parts.engine, now);
            }
            Input::Stop(limit) => {
                self.stop_by = Some(Instant::now() + limit);
                self.parts.engine.drain();
                self.parts.health.set_draining();
                self.parts.numbers.shared().set_draining();
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.stop_by.is_some() && (self.stopping || self.is_time_up() || !self.parts.engine.awaits_reports())
    }

    fn is_time_up(&self) -> bool {
        self.stop_by.is_some_and(|by| Instant::now() >= by)
    }

    fn take_received(&mut self, received: Received, events: &mut VecDeque<Event>) {
        let Received { incoming, bytes } = received;
        match incoming {
            Incoming::Event(event) => match self.admit(&event) {
                Ok(()) => {
                    self.undecided.add(Weight::undecided(&event, bytes));
                    events.push_back(event);
                    return;
                }
                // At once: what has gathered waits for the very commit that does not come.
                Err(refusal) => {
                    let reply = Reply::Refused(refusal);
                    self.at_once.extend(event.origin().map(|to| Outgoing::Reply { to, reply }));
                }
            },
            Incoming::Health { origin, level, counts: peers } => {
                let engine = &self.parts.engine;
                let counts = match level {
                    HealthLevel::Basic => HealthCounts {
                        templates_without_worker: engine.templates_without_worker(),
                        ..HealthCounts::default()
                    },
                    HealthLevel::Detailed | HealthLevel::Full => engine.health(),
                };
                let report = self.parts.health.report(&counts, peers, origin, level);
                self.parts.reads.health(origin, level, report);
            }
            Incoming::ListTasks { origin, query, filter } => self.parts.reads.list_tasks(origin, query, *filter),
            Incoming::FindTask { origin, key } => self.parts.reads.find_task(origin, key),
            Incoming::TasksAnnounced { origin } => {
                self.parts.announced.notify_one();
                let message = TasksAnnounced { correlation_id: origin.correlation };
                self.at_once.push(Outgoing::Message { to: origin, message: Box::new(message.into()) });
            }
        }
        self.parts.budget.give_back(bytes);
    }

    /// Whether the engine gets to see an event of a peer.
    fn admit(&self, event: &Event) -> Result<(), Refusal> {
        self.parts.health.check_up(event)?;
        let mut gathered = self.gathering.weight;
        gathered.add(self.undecided);
        admission::admit(event, gathered)
    }

    /// Lets the engine decide on what came in, once.
    pub(super) fn decide(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = self.parts.clock.now();
        for event in events {
            self.handle(now, event);
        }
        let engine = &mut self.parts.engine;
        let gathering = &mut self.gathering;
        engine.plan(now, &mut gathering.effects);
        gathering.weigh();
        self.send_at_once();
    }

    fn handle(&mut self, now: Now, mut event: Event) {
        if let Event::ExplanationAsked { query, .. } = &mut event {
            query.store_away = self.parts.health.is_postgres_down();
        }
        let engine = &mut self.parts.engine;
        // What a step says of itself is with its worker, so that it is durable. Why nothing moves while Postgres is away has
        // to be said while it is away.
        let at_once = match &event {
            Event::StepProgressed { .. } => true,
            Event::ExplanationAsked { query, .. } => query.store_away,
            _ => false,
        };
        if at_once {
            let mut effects = Effects::default();
            engine.handle(now, event, &mut effects);
            self.send_all(Vec::new(), effects.deliveries);
        } else if matches!(event, Event::WorkerBeat { .. }) {
            let mut effects = Effects::default();
            engine.handle(now, event.clone(), &mut effects);
            // Nothing depends on it, and it depends on nothing: a worker must not look for a broker that is only slow.
            if let (&[], &[Deliver::Reply { to, reply: Reply::HeartbeatAcknowledged }]) =
                (&*effects.saves, &*effects.deliveries)
            {
                self.at_once.push(Outgoing::Reply { to, reply: Reply::HeartbeatAcknowledged });
                return;
            }
            self.gathering.effects.saves.append(&mut effects.saves);
            self.gathering.effects.deliveries.append(&mut effects.deliveries);
            self.gathering.effects.marks.append(&mut effects.marks);
            self.gathering.effects.spans.append(&mut effects.spans);
            self.gathering.events.push(event);
        } else {
            engine.handle(now, event.clone(), &mut self.gathering.effects);
            self.gathering.events.push(event);
        }
    }

    /// Whether what has gathered may be committed later.
    fn waits_for_company(&self) -> bool {
        let goes_on = self.listens() && self.stop_by.is_none();
        goes_on && self.gathering.may_wait_until().is_some_and(|until| Instant::now() < until)
    }

    /// Gives what has gathered to the writer, unless a group is with it already.
    pub(super) fn hand_over(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        let mut gathered = std::mem::take(&mut self.gathering);
        let mut saves = std::mem::take(&mut gathered.effects.saves);
        let now = self.parts.clock.now().mono;
        for save in &mut saves {
            gathered.tally.add(save);
            if let Save::Command(command) = save {
                command.duration_ms = u32::try_from(now.since(command.taken)).unwrap_or(u32::MAX);
            }
        }
        gathered.inbox_rows = inbox::removed_rows(&saves);
        gathered.handed_over = Some((Instant::now(), saves.len()));
        self.in_flight = Some(gathered);
        if saves.is_empty() {
            self.release_in_flight();
            return;
        }
        self.parts.clock.commit_begun();
        let group = Group { saves, oldest_open_batch: self.parts.engine.oldest_open_batch().map(|batch| batch.0) };
        // A writer that has ended has said why: its verdict is waiting. In its runtime, or this thread would wake itself.
        let _ = self.writing.block_on(async { self.parts.writer.send(group) });
    }

    /// The group in flight is durable: it counts, and what it allows may leave.
    pub(super) fn committed(&mut self, rows: u32) {
        if let Some(group) = &mut self.in_flight
            && let Some((since, saves)) = group.handed_over
        {
            let took = since.elapsed();
            self.parts.health.note_commit(saves, took);
            let (engine, marks) = (&self.parts.engine, &group.effects.marks);
            self.parts.numbers.group_committed(engine, marks, &group.tally, rows, took);
            if let Some(tracer) = &self.parts.tracer {
                tracer.tell(std::mem::take(&mut group.effects.spans));
            }
        }
        self.release_in_flight();
    }

    /// What the group in flight allows may leave.
    pub(super) fn release_in_flight(&mut self) {
        let Some(group) = self.in_flight.take() else { return };
        if !group.inbox_rows.is_empty() {
            // The inbox's reader ends with the runtime, after the loop.
            let _ = self.parts.inbox.send(inbox::Handed::Removed(group.inbox_rows));
        }
        self.parts.budget.give_back(group.weight.bytes);
        self.send_all(group.messages, group.effects.deliveries);
    }

    fn send_all(&self, mut outgoing: Vec<Outgoing>, deliveries: Vec<Deliver>) {
        for delivery in deliveries {
            match delivery {
                Deliver::Reply { to, reply } => outgoing.push(Outgoing::Reply { to, reply }),
                Deliver::Worker { peer, message } => outgoing.push(Outgoing::Worker { peer, message }),
                Deliver::Publish(notice) => outgoing.push(Outgoing::Publish(notice)),
                Deliver::InboxLater { rows } => drop(self.parts.inbox.send(inbox::Handed::Later(rows))),
                Deliver::Read(read) => self.parts.reads.ask(read),
            }
        }
        self.send(outgoing);
    }

    fn send_at_once(&mut self) {
        let outgoing = std::mem::take(&mut self.at_once);
        self.send(outgoing);
    }

    fn send(&self, outgoing: Vec<Outgoing>) {
        if let Err(error) = self.parts.ear.send(outgoing) {
            warn!(%error, "messages were not sent");
        }
    }
}
