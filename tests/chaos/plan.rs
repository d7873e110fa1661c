//! What happens in a round, and when: everything follows from the seed.

use std::fmt;

use super::proxy::Way;

/// The share of tasks that have ended, in thousandths.
pub type Moment = u32;

/// What is done to the processes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; a new one starts after a pause, or at once.
    KillBroker { pause_ms: u32 },
    /// SIGTERM, and a new one when it has left.
    DrainBroker,
    /// SIGSTOP for less than the lease.
    PauseBroker { ms: u32 },
    /// SIGSTOP until the standby has taken over; then SIGCONT.
    FreezeOwner,
    /// `kill -9`; another one starts under the name, or none does.
    KillWorker { again: bool },
    /// SIGSTOP, for longer than the worker timeout or not.
    PauseWorker { ms: u32 },
    /// SIGTERM for one after the other, each followed by a new one.
    RollWorkers,
    /// `kill -9` of the postmaster.
    KillPostgres,
    /// `kill -9` of the process behind the writer's session.
    KillBackend,
    /// An immediate shutdown, and a start.
    RestartPostgres,
    /// An immediate shutdown, and a start after a while.
    PostgresAway { ms: u32 },
    /// SIGSTOP.
    PausePostgres { ms: u32 },
    /// Sessions are ended in the middle of what they do, several times.
    TerminateBackends,
    /// Every commit takes a tenth of a second.
    SlowCommits { ms: u32 },
    /// All connections between workers, clients and brokers are cut.
    CutWorkers,
    /// One direction of them leads nowhere for a while.
    HoldWorkers { way: Way, ms: u32 },
    /// Each message takes longer for a while.
    DelayWorkers { by_ms: u32, ms: u32 },
    /// All connections between brokers and Postgres are cut.
    CutDatabase,
    /// One direction of them leads nowhere for a while.
    HoldDatabase { way: Way, ms: u32 },
    /// Each message takes longer for a while.
    DelayDatabase { by_ms: u32, ms: u32 },
    /// Commits happen, and their answer is lost.
    CutAnswers { count: u32 },
    /// Requests to commit are lost.
    CutRequests { count: u32 },
    /// The wall clock of the brokers jumps.
    JumpClock { seconds: i64 },
}

/// One of each, with a weight.
pub const KINDS: [(Kind, u64); 23] = [
    (Kind::KillBroker, 4),
    (Kind::DrainBroker, 2),
    (Kind::PauseBroker, 2),
    (Kind::FreezeOwner, 3),
    (Kind::KillWorker, 3),
    (Kind::PauseWorker, 3),
    (Kind::RollWorkers, 2),
    (Kind::KillPostgres, 2),
    (Kind::KillBackend, 1),
    (Kind::RestartPostgres, 2),
    (Kind::PostgresAway, 1),
    (Kind::PausePostgres, 2),
    (Kind::TerminateBackends, 2),
    (Kind::SlowCommits, 2),
    (Kind::CutWorkers, 2),
    (Kind::HoldWorkers, 2),
    (Kind::DelayWorkers, 1),
    (Kind::CutDatabase, 2),
    (Kind::HoldDatabase, 2),
    (Kind::DelayDatabase, 1),
    (Kind::CutAnswers, 3),
    (Kind::CutRequests, 2),
    (Kind::JumpClock, 2),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    KillBroker,
    DrainBroker,
    PauseBroker,
    FreezeOwner,
    KillWorker,
    PauseWorker,
    RollWorkers,
    KillPostgres,
    KillBackend,
    RestartPostgres,
    PostgresAway,
    PausePostgres,
    TerminateBackends,
    SlowCommits,
    CutWorkers,
    HoldWorkers,
    DelayWorkers,
    CutDatabase,
    HoldDatabase,
    DelayDatabase,
    CutAnswers,
    CutRequests,
    JumpClock,
}

/// Faults of a round.
const FAULTS: usize = 5;

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub workers: usize,
    /// Two brokers, of which one waits.
    pub standby: bool,
    /// In order of their moments.
    pub faults: Vec<(Moment, Fault)>,
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut dice = Dice(seed);
        let workers = 2 + dice.below(3) as usize;
        let standby = dice.below(2) == 0;
        let mut faults: Vec<(Moment, Fault)> = Vec::new();
        while faults.len() < FAULTS {
            let kind = dice.kind();
            if standby || kind != Kind::FreezeOwner {
                faults.push((dice.between(20, 850), dice.fault(kind)));
            }
        }
        faults.sort_by_key(|(moment, _)| *moment);
        Plan { seed, workers, standby, faults }
    }

    /// Nothing goes wrong.
    pub fn calm() -> Plan {
        Plan { seed: 0, workers: 2, standby: false, faults: Vec::new() }
    }

    /// Whether the brokers need a clock that can be set.
    pub fn sets_clocks(&self) -> bool {
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::JumpClock { .. }))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} workers{}", self.workers, if self.standby { ", standby" } else { "" })?;
        self.faults.iter().try_for_each(|(moment, fault)| write!(f, ", {fault:?}@{moment}"))
    }
}

/// splitmix64: enough to choose faults, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn between(&mut self, least: u32, most: u32) -> u32 {
        least + u32::try_from(self.below(u64::from(most - least) + 1)).expect("it is below a u32")
    }

    fn way(&mut self) -> Way {
        if self.below(2) == 0 { Way::There } else { Way::Back }
    }

    fn kind(&mut self) -> Kind {
        let mut place = self.below(KINDS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in KINDS {
            match place.checked_sub(weight) {
                Some(left) => place = left,
                None => return kind,
            }
        }
        unreachable!("the place is below the sum of the weights")
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        match kind {
            Kind::KillBroker => Fault::KillBroker { pause_ms: self.between(0, 1) * self.between(200, 1_500) },
            Kind::DrainBroker => Fault::DrainBroker,
            Kind::PauseBroker => Fault::PauseBroker { ms: self.between(200, 1_500) },
            Kind::FreezeOwner => Fault::FreezeOwner,
            Kind::KillWorker => Fault::KillWorker { again: self.below(2) == 0 },
            // A worker is lost after three seconds.
            Kind::PauseWorker => {
                let (least, most) = if self.below(3) == 0 { (200, 1_500) } else { (4_000, 5_000) };
                Fault::PauseWorker { ms: self.between(least, most) }
            }
            Kind::RollWorkers => Fault::RollWorkers,
            Kind::KillPostgres => Fault::KillPostgres,
            Kind::KillBackend => Fault::KillBackend,
            Kind::RestartPostgres => Fault::RestartPostgres,
            Kind::PostgresAway => {
                let ms = if self.below(4) == 0 { 10_000 } else { self.between(1_000, 4_000) };
                Fault::PostgresAway { ms }
            }
            Kind::PausePostgres => Fault::PausePostgres { ms: self.between(300, 3_000) },
            Kind::TerminateBackends => Fault::TerminateBackends,
            Kind::SlowCommits => Fault::SlowCommits { ms: self.between(1_000, 3_000) },
            Kind::CutWorkers => Fault::CutWorkers,
            Kind::HoldWorkers => Fault::HoldWorkers { way: self.way(), ms: self.between(500, 5_000) },
            Kind::DelayWorkers => Fault::DelayWorkers { by_ms: self.between(10, 150), ms: self.between(1_000, 3_000) },
            Kind::CutDatabase => Fault::CutDatabase,
            Kind::HoldDatabase => Fault::HoldDatabase { way: self.way(), ms: self.between(500, 4_000) },
            Kind::DelayDatabase => Fault::DelayDatabase { by_ms: self.between(2, 30), ms: self.between(1_000, 3_000) },
            Kind::CutAnswers => Fault::CutAnswers { count: self.between(1, 4) },
            Kind::CutRequests => Fault::CutRequests { count: self.between(1, 4) },
            Kind::JumpClock => {
                const JUMPS: [i64; 5] = [86_400, -3_600, 10, -10, 20 * 365 * 86_400];
                let jump = JUMPS[usize::try_from(self.below(5)).expect("it is below 5")];
                Fault::JumpClock { seconds: jump }
            }
        }
    }
}
