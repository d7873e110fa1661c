//! Which faults a run has, and when. Each run draws its own mix, so that some runs have one kind of fault only and others
//! have many at once.

use crate::network::Party;
use crate::rng::Rng;
use crate::run::{Happening, Sim};

/// Chances in a thousand, unless said otherwise.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How long there are faults, in milliseconds.
    pub for_ms: u64,
    /// Requests that clients make.
    pub tasks: u64,
    /// Idempotency keys that they choose from.
    pub keys: u64,
    pub lost_message: u64,
    pub repeated_message: u64,
    pub slow_message: u64,
    pub slow_commit: u64,
    pub lost_acknowledgement: u64,
    pub refused_group: u64,
    pub crash_in_replay: u64,
    pub unstorable: u64,
    pub returned_step: u64,
    /// Chance, each time that a client looks up, that it pauses or resumes a namespace, or sends a worker away.
    pub fleet_action: u64,
    /// Chance that a worker process is a liar.
    pub liar: u64,
    /// Steps that reopened tasks may add to the limit.
    pub steps_slack: u32,
    /// Single faults, and the mean time between two of them, in milliseconds.
    kinds: Vec<Fault>,
    pause_ms: u64,
}

/// A fault at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    BrokerCrashes,
    BrokerStops,
    WorkerDies,
    WorkerHangs,
    WorkerLeaves,
    WorkerDrains,
    ConnectionResets,
    LinkIsCut,
    WallClockJumps,
}

const FAULTS: [Fault; 9] = [
    Fault::BrokerCrashes,
    Fault::BrokerStops,
    Fault::WorkerDies,
    Fault::WorkerHangs,
    Fault::WorkerLeaves,
    Fault::WorkerDrains,
    Fault::ConnectionResets,
    Fault::LinkIsCut,
    Fault::WallClockJumps,
];

impl Faults {
    pub fn draw(rng: &mut Rng) -> Faults {
        let kinds = FAULTS.into_iter().filter(|_| rng.chance(450)).collect();
        let mut some = |often: u64, most: u64| if rng.chance(often) { rng.within(1, most) } else { 0 };
        Faults {
            lost_message: some(350, 80),
            repeated_message: some(350, 80),
            slow_message: some(400, 200),
            slow_commit: some(400, 120),
            lost_acknowledgement: some(400, 150),
            refused_group: some(300, 40),
            crash_in_replay: some(300, 100),
            unstorable: some(300, 60),
            returned_step: some(300, 100),
            liar: some(300, 500),
            fleet_action: some(500, 150),
            for_ms: rng.within(15_000, 50_000),
            tasks: rng.within(5, 30),
            keys: rng.within(3, 40),
            steps_slack: 1_000,
            kinds,
            pause_ms: rng.within(400, 6_000),
        }
    }
}

impl Sim {
    /// Whether faults still happen.
    pub fn faulty(&self) -> bool {
        self.now < self.faults.for_ms
    }

    pub fn plan_fault(&mut self) {
        if self.faults.kinds.is_empty() {
            return;
        }
        let kind = self.faults.kinds[self.rng.place(self.faults.kinds.len())];
        let at = self.now + self.rng.within(1, 2 * self.faults.pause_ms);
        self.queue.at(at, Happening::Fault(kind));
    }

    pub fn fault(&mut self, kind: Fault) {
        if !self.faulty() {
            return;
        }
        let worker = self.rng.place(self.workers.len());
        let alive = self.workers[worker].alive;
        match kind {
            Fault::BrokerCrashes => self.crash(self.active),
            Fault::BrokerStops => {
                let for_ms = self.rng.within(50, 9_000);
                self.pause(self.active, for_ms);
            }
            Fault::WorkerDies if alive => {
                self.kill_worker(worker);
                self.plan_revival(worker);
            }
            Fault::WorkerHangs if alive => {
                let for_ms = self.rng.within(100, 15_000);
                self.hang_worker(worker, for_ms);
            }
            Fault::WorkerLeaves if alive => {
                self.leave(worker);
                self.plan_revival(worker);
            }
            Fault::WorkerDrains if alive => {
                self.drain(worker);
                self.plan_revival(worker);
            }
            Fault::ConnectionResets => {
                let party = self.any_party();
                self.note(|| format!("the connection of {party:?} is reset"));
                self.net.reset(party);
            }
            Fault::LinkIsCut => {
                let party = self.any_party();
                let until = self.now + self.rng.within(100, 12_000);
                let way = self.rng.below(3);
                self.note(|| format!("the link of {party:?} is cut ({way}) until {until}"));
                let link = self.net.of(party);
                if way != 0 {
                    link.deaf_broker_until = until;
                }
                if way != 1 {
                    link.deaf_peer_until = until;
                }
            }
            Fault::WallClockJumps => {
                // A `run_at` is as late as the clock was behind when its task came in; the quiet time bounds this.
                let offset = i64::try_from(self.rng.below(120_000)).expect("two minutes") - 60_000;
                self.note(|| format!("the wall clock is {offset} ms off"));
                self.wall_offset_ms = offset;
                self.wall_offset_most_ms = self.wall_offset_most_ms.max(self.wall_offset_ms);
            }
            Fault::WorkerDies | Fault::WorkerHangs | Fault::WorkerLeaves | Fault::WorkerDrains => {}
        }
        self.plan_fault();
    }

    fn any_party(&mut self) -> Party {
        let place = self.rng.place(self.workers.len() + self.clients.len());
        if place < self.workers.len() { Party::Worker(place) } else { Party::Client(place - self.workers.len()) }
    }

    /// A process that ended is started again after a while.
    pub fn plan_revival(&mut self, worker: usize) {
        let at = self.now + self.rng.within(10, 12_000);
        self.queue.at(at, Happening::StartWorker(worker));
    }
}
