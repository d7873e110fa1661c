//! One run: a seed decides everything that happens. Faults for some time, then quiet until everything has ended.

use std::collections::{BTreeMap, BTreeSet};

use tasker_engine::{Config, Event, Origin, PeerId, Read, StepReference, TaskRequest, TemplateSource};
use uuid::Uuid;

use crate::broker::Broker;
use crate::bugs::Bug;
use crate::checks::Checks;
use crate::client::Client;
use crate::faults::{Fault, Faults};
use crate::network::{Message, Network, Party};
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::store::Store;
use crate::worker::{HEARTBEAT_MS, WORKER_TIMEOUT_MS, Worker};
use crate::world::template;

const WORKERS: usize = 4;
const CLIENTS: usize = 2;
pub(crate) const NAMESPACES: [&str; 2] = ["shop", "yard"];
/// Between two looks of a client at what it waits for.
const CLIENT_TICK_MS: u64 = 400;
const INBOX_POLL_MS: u64 = 1_000;

/// Quiet time after which what has not ended is stuck: many times the longest timeouts in a row.
const QUIET_MAX_MS: u64 = 400_000;

/// Lines of the history that a failure shows.
const LINES_MAX: usize = 400_000;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    ToBroker { peer: PeerId, event: Box<Event> },
    ToPeer { peer: PeerId, message: Box<Message> },
    Turn(usize),
    Written { process: usize, number: u64 },
    Verdict { process: usize, number: u64 },
    Read { process: usize, read: Read },
    Answer { process: usize, event: Event },
    Unreachable { process: usize, peer: PeerId },
    StartBroker { after: usize },
    WorkerTick(usize),
    WorkerWakes { number: usize, incarnation: u128 },
    StepEnds { number: usize, incarnation: u128, at: StepReference },
    StartWorker(usize),
    ClientTick(usize),
    InboxPoll,
    Fault(Fault),
    Quiet,
}

/// The lane's row: who may write, and how much was written.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub epoch: u64,
    pub seq: u64,
    /// Of the owner's monotonic clock.
    pub base_ms: u64,
}

pub(crate) struct Sim {
    pub rng: Rng,
    /// Virtual time, in milliseconds.
    pub now: u64,
    pub queue: Schedule<Happening>,
    pub faults: Faults,
    pub bug: Option<Bug>,
    pub config: Config,
    pub store: Store,
    pub lane: Lane,
    pub net: Network,
    pub brokers: Vec<Broker>,
    /// The broker that has the lane.
    pub active: usize,
    pub workers: Vec<Worker>,
    pub clients: Vec<Client>,
    pub templates: Vec<TemplateSource>,
    pub checks: Checks,
    pub wall_offset_ms: i64,
    pub wall_offset_most_ms: i64,
    pub groups: u64,
    pub incarnations: u128,
    pub payloads: u64,
    pub submitted: u64,
    pub inbox: BTreeMap<i64, TaskRequest>,
    pub inbox_rows: i64,
    pub inbox_handed: BTreeSet<i64>,
    correlations: u128,
    history: Option<Vec<String>>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Virtual milliseconds.
    pub lasted_ms: u64,
    /// Groups that became durable.
    pub groups: u64,
    /// Replies, batches and notices that left.
    pub deliveries: u64,
    /// Tasks that were created.
    pub tasks: u64,
    /// Broker processes.
    pub brokers: u64,
}

/// Runs one seed; panics when a check fails.
pub fn run(seed: u64, bug: Option<Bug>, history: Option<&mut Vec<String>>) -> Summary {
    let mut sim = Sim::new(seed, bug, history.is_some());
    // A failed check leaves its history behind as well.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.play()));
    if let (Some(place), Some(lines)) = (history, sim.history.take()) {
        *place = lines;
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
    Summary {
        lasted_ms: sim.now,
        groups: sim.lane.seq,
        deliveries: sim.checks.deliveries,
        tasks: sim.store.tasks.len() as u64,
        brokers: sim.brokers.len() as u64,
    }
}

impl Sim {
    fn new(seed: u64, bug: Option<Bug>, keep_history: bool) -> Sim {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng);
        let config = Config {
            heartbeat_ms: HEARTBEAT_MS,
            worker_timeout_ms: WORKER_TIMEOUT_MS,
            recovery_grace_ms: 3_000,
            batch_steps_max: 3,
            steps_max: 80,
            waiters_max: 4,
            poison_limit: 2,
            ..Config::default()
        };
        let templates =
            (0..rng.within(1, 3)).map(|number| template(&template_name(number), &shape(&mut rng))).collect();
        Sim {
            rng,
            now: 0,
            queue: Schedule::new(),
            faults,
            bug,
            store: Store::new(config.clone()),
            config,
            lane: Lane::default(),
            net: Network::default(),
            brokers: Vec::new(),
            active: 0,
            workers: (0..WORKERS).map(|_| Worker::default()).collect(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            templates,
            checks: Checks::default(),
            wall_offset_ms: 0,
            wall_offset_most_ms: 0,
            groups: 0,
            incarnations: 0,
            payloads: 0,
            submitted: 0,
            inbox: BTreeMap::new(),
            inbox_rows: 0,
            inbox_handed: BTreeSet::new(),
            correlations: 0,
            history: keep_history.then(Vec::new),
        }
    }

    /// A line of the history; made only when it is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(history) = self.history.as_mut().filter(|history| history.len() < LINES_MAX) {
            history.push(format!("{now:>7} {}", without_templates(&line())));
        }
    }

    pub fn origin(&mut self, party: Party) -> Origin {
        self.correlations += 1;
        Origin { peer: self.net.of(party).peer, correlation: Uuid::from_u128(self.correlations) }
    }

    fn play(&mut self) {
        for number in 0..WORKERS {
            self.net.connect(Party::Worker(number));
            self.queue.at(number as u64 * 7, Happening::StartWorker(number));
            self.queue.at(HEARTBEAT_MS + number as u64 * 91, Happening::WorkerTick(number));
        }
        for number in 0..CLIENTS {
            self.net.connect(Party::Client(number));
            self.queue.at(100 + number as u64 * 57, Happening::ClientTick(number));
        }
        self.start_broker();
        for template in self.templates.clone() {
            let origin = self.origin(Party::Client(0));
            self.brokers[0].inbox.push_back(Event::TemplateSubmitted { origin, template });
        }
        let templates = std::mem::take(&mut self.brokers[0].inbox);
        self.decide(0, templates);
        // A database without templates would refuse every first worker; the broker starts with them.
        let group = std::mem::take(&mut self.brokers[0].gathering);
        self.apply(0, &group);
        self.release(0, group);
        self.queue.at(500, Happening::InboxPoll);
        self.queue.at(self.faults.for_ms, Happening::Quiet);
        self.plan_fault();
        let last = self.faults.for_ms + QUIET_MAX_MS;
        loop {
            let (at, what) = self.queue.next().expect("heartbeats never end");
            self.now = at.max(self.now);
            self.happen(what);
            if !self.faulty() && self.at_rest() {
                break;
            }
            assert!(self.now < last, "stuck: {}", self.unrest());
        }
        self.check_end();
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToBroker { peer, event } => self.reaches_broker(peer, *event),
            Happening::ToPeer { peer, message } => self.reaches_peer(peer, *message),
            Happening::Turn(process) => self.turn(process),
            Happening::Written { process, number } => self.written(process, number),
            Happening::Verdict { process, number } => self.verdict(process, number),
            Happening::Read { process, read } => {
                if self.brokers[process].up {
                    self.read(process, read);
                }
            }
            Happening::Answer { process, event } => self.arrived(process, event),
            Happening::Unreachable { process, peer } => self.arrived(process, Event::PeerUnreachable { peer }),
            Happening::StartBroker { after } => {
                let old = &self.brokers[after];
                if self.active == after && (!old.up || old.paused_until > self.now) {
                    self.start_broker();
                }
            }
            Happening::WorkerTick(number) => {
                self.queue.at(self.now + HEARTBEAT_MS, Happening::WorkerTick(number));
                self.worker_ticks(number);
                if !self.faulty() {
                    self.calm_worker(number);
                }
            }
            Happening::WorkerWakes { number, incarnation } => self.worker_wakes(number, incarnation),
            Happening::StepEnds { number, incarnation, at } => self.step_ends(number, incarnation, at),
            Happening::StartWorker(number) => {
                if !self.workers[number].alive {
                    self.start_worker(number);
                }
            }
            Happening::ClientTick(number) => {
                self.queue.at(self.now + CLIENT_TICK_MS, Happening::ClientTick(number));
                self.client_ticks(number);
            }
            Happening::InboxPoll => {
                self.queue.at(self.now + INBOX_POLL_MS, Happening::InboxPoll);
                self.poll_inbox();
            }
            Happening::Fault(kind) => self.fault(kind),
            Happening::Quiet => self.note(|| "the faults are over".to_owned()),
        }
    }

    /// A peer sends to the broker that has the lane.
    pub fn tell_broker(&mut self, party: Party, event: Event) {
        let link = self.net.of(party);
        let (peer, cut) = (link.peer, link.deaf_broker_until > self.now);
        for delay_ms in self.journeys(cut) {
            self.queue.at(self.now + delay_ms, Happening::ToBroker { peer, event: Box::new(event.clone()) });
        }
    }

    /// A broker sends to a connection.
    pub fn send(&mut self, peer: PeerId, message: Message) {
        self.note(|| format!("  to {peer:?}: {message:?}"));
        let Some(link) = self.net.by_peer(peer) else {
            // The router has no such connection any more.
            let (process, at) = (self.active, self.now + self.rng.within(1, 300));
            self.queue.at(at, Happening::Unreachable { process, peer });
            return;
        };
        let cut = link.deaf_peer_until > self.now;
        for delay_ms in self.journeys(cut) {
            self.queue.at(self.now + delay_ms, Happening::ToPeer { peer, message: Box::new(message.clone()) });
        }
    }

    /// How long a message travels: not at all when it is lost, twice when it is repeated.
    fn journeys(&mut self, cut: bool) -> Vec<u64> {
        if !self.faulty() {
            return vec![self.rng.within(1, 3)];
        }
        if cut || self.rng.chance(self.faults.lost_message) {
            return Vec::new();
        }
        let times = 1 + u64::from(self.rng.chance(self.faults.repeated_message));
        let delays = (0..times).map(|_| {
            if self.rng.chance(self.faults.slow_message) { self.rng.within(20, 3_000) } else { self.rng.within(1, 8) }
        });
        delays.collect()
    }

    fn reaches_broker(&mut self, peer: PeerId, event: Event) {
        let process = self.active;
        let there = self.net.by_peer(peer).is_some();
        if there && self.brokers[process].up {
            self.arrived(process, event);
        }
    }

    fn reaches_peer(&mut self, peer: PeerId, message: Message) {
        let Some(party) = self.net.by_peer(peer).map(|link| link.party) else { return };
        match party {
            Party::Worker(number) => self.worker_hears(number, message),
            Party::Client(number) => self.client_hears(number, message),
        }
    }
}

/// A line in which templates are named by their keys only: their index of names is not even printed in the same order
/// every time.
fn without_templates(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some((before, template)) = rest.split_once(", version: Version {") {
        let Some((_, names)) = template.split_once("numbers: {") else { break };
        let Some((_, after)) = names.split_once('}') else { break };
        text.push_str(before);
        rest = after;
    }
    text + rest
}

/// Templates are in two namespaces, of which one may be paused.
fn template_name(number: u64) -> String {
    if number == 1 { format!("{}/t1", NAMESPACES[1]) } else { format!("{}/t{number}", NAMESPACES[0]) }
}

/// Text of a template with up to six steps, each below any of those before it.
fn shape(rng: &mut Rng) -> String {
    let options = [
        "",
        "",
        "",
        "[limit=1]",
        "[once]",
        "[skippable]",
        "[skippable]",
        "[timeout=700]",
        "[timeout=4000,limit=2]",
        "[base=900]",
    ];
    let mut text = String::new();
    for number in 0..rng.within(1, 6) {
        let option = options[rng.place(options.len())];
        let parents: Vec<String> = (0..number).filter(|_| rng.chance(400)).map(|parent| format!("s{parent}")).collect();
        text.push_str(&format!("s{number}{option}({}) ", parents.join(",")));
    }
    text
}
