//! Begins a fault and, when it is one that lasts, ends it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::fleet::{Fleet, Seat};
use super::plan::Fault;
use super::proxy::Proxy;

/// A fault that has not ended.
pub struct Under {
    pub fault: Fault,
    end: End,
}

enum End {
    /// At that time this is undone.
    At(Instant, Undo),
    /// When another broker has the lane under a later epoch than this one, the stopped one in this seat goes on.
    Takeover { epoch: i64, seat: usize },
    /// When everybody before that seat has been replaced, it is the next one's turn.
    Roll { seat: usize },
    /// When the writer's session was ended so many times.
    Terminations(u32),
}

enum Undo {
    ContinueBroker(usize),
    ContinueWorker(usize),
    StartPostgres,
    ContinuePostgres,
    FastCommits,
    HealWork,
    HealPostgres,
}

/// Which part of the fleet a fault concerns. Two at a time in one part would undo each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Brokers,
    Workers,
    Postgres,
    Work,
    Database,
    Clock,
}

impl Fault {
    fn part(self) -> Part {
        match self {
            Fault::KillBroker { .. } | Fault::DrainBroker | Fault::PauseBroker { .. } | Fault::FreezeOwner => {
                Part::Brokers
            }
            Fault::KillWorker { .. } | Fault::PauseWorker { .. } | Fault::RollWorkers => Part::Workers,
            Fault::KillPostgres
            | Fault::KillBackend
            | Fault::RestartPostgres
            | Fault::PostgresAway { .. }
            | Fault::PausePostgres { .. }
            | Fault::TerminateBackends
            | Fault::SlowCommits { .. } => Part::Postgres,
            Fault::CutWorkers | Fault::HoldWorkers { .. } | Fault::DelayWorkers { .. } => Part::Work,
            Fault::CutDatabase
            | Fault::HoldDatabase { .. }
            | Fault::DelayDatabase { .. }
            | Fault::CutAnswers { .. }
            | Fault::CutRequests { .. } => Part::Database,
            Fault::JumpClock { .. } => Part::Clock,
        }
    }

    /// Whether nothing that is under way concerns the same part of the fleet.
    pub fn can_begin(self, under_way: &[Under]) -> bool {
        under_way.iter().all(|under| under.fault.part() != self.part())
    }

    /// Begins it. `None` when it is over at once, or what it would be done to is not there.
    pub fn begin(self, fleet: &mut Fleet) -> Option<Under> {
        let end = self.strike(fleet)?;
        Some(Under { fault: self, end })
    }

    fn strike(self, fleet: &mut Fleet) -> Option<End> {
        let later = |ms: u32| Instant::now() + Duration::from_millis(ms.into());
        match self {
            Fault::KillBroker { pause_ms } => fleet.owning_seat().kill(Some(later(pause_ms))),
            Fault::DrainBroker => fleet.owning_seat().roll(),
            Fault::PauseBroker { ms } => {
                let seat = fleet.owner()?;
                fleet.brokers[seat].signal(Signal::SIGSTOP);
                return Some(End::At(later(ms), Undo::ContinueBroker(seat)));
            }
            Fault::FreezeOwner => {
                let (epoch, seat) = (fleet.database.glance("SELECT epoch FROM tasker.lanes")?, fleet.owner()?);
                fleet.brokers[seat].signal(Signal::SIGSTOP);
                return Some(End::Takeover { epoch, seat });
            }
            Fault::KillWorker { again } => {
                let seat = fleet.working_seat()?;
                let others = fleet.workers.iter().filter(|other| other.is_taken()).count();
                let follows = again || others <= 1;
                fleet.workers[seat].kill(follows.then(Instant::now));
            }
            Fault::PauseWorker { ms } => {
                let seat = fleet.working_seat()?;
                fleet.workers[seat].signal(Signal::SIGSTOP);
                return Some(End::At(later(ms), Undo::ContinueWorker(seat)));
            }
            Fault::RollWorkers => return Some(End::Roll { seat: 0 }),
            Fault::KillPostgres => {
                fleet.cluster.end(Signal::SIGKILL);
                fleet.cluster.start_again();
            }
            Fault::KillBackend => fleet.cluster.kill_backend(fleet.writer()?),
            Fault::RestartPostgres => {
                fleet.cluster.end(Signal::SIGQUIT);
                fleet.cluster.start_again();
            }
            Fault::PostgresAway { ms } => {
                fleet.cluster.end(Signal::SIGQUIT);
                return Some(End::At(later(ms), Undo::StartPostgres));
            }
            Fault::PausePostgres { ms } => {
                fleet.cluster.signal_all(Signal::SIGSTOP);
                return Some(End::At(later(ms), Undo::ContinuePostgres));
            }
            Fault::TerminateBackends => return Some(End::Terminations(5)),
            Fault::SlowCommits { ms } => {
                let slow = fleet.slow_commits(100_000);
                return slow.then(|| End::At(later(ms), Undo::FastCommits));
            }
            Fault::CutWorkers => fleet.work.iter().for_each(Proxy::cut),
            Fault::HoldWorkers { way, ms } => {
                fleet.work.iter().for_each(|proxy| proxy.hold(way, true));
                return Some(End::At(later(ms), Undo::HealWork));
            }
            Fault::DelayWorkers { by_ms, ms } => {
                fleet.work.iter().for_each(|proxy| proxy.delay(Duration::from_millis(by_ms.into())));
                return Some(End::At(later(ms), Undo::HealWork));
            }
            Fault::CutDatabase => fleet.postgres.cut(),
            Fault::HoldDatabase { way, ms } => {
                fleet.postgres.hold(way, true);
                return Some(End::At(later(ms), Undo::HealPostgres));
            }
            Fault::DelayDatabase { by_ms, ms } => {
                fleet.postgres.delay(Duration::from_millis(by_ms.into()));
                return Some(End::At(later(ms), Undo::HealPostgres));
            }
            Fault::CutAnswers { count } => fleet.postgres.cut_answers(count),
            Fault::CutRequests { count } => fleet.postgres.cut_requests(count),
            Fault::JumpClock { seconds } => fleet.clock.as_ref()?.set(seconds),
        }
        None
    }
}

impl Under {
    /// Ends it if it is time; otherwise it stays under way.
    pub fn go_on(self, fleet: &mut Fleet) -> Option<Under> {
        let fault = self.fault;
        let end = match self.end {
            End::At(at, undo) if at <= Instant::now() => {
                undo.act(fleet);
                return None;
            }
            End::At(at, undo) => End::At(at, undo),
            End::Takeover { epoch, seat } => {
                let now = fleet.database.glance("SELECT epoch FROM tasker.lanes");
                if now.is_some_and(|now| now > epoch) {
                    fleet.brokers[seat].signal(Signal::SIGCONT);
                    return None;
                }
                End::Takeover { epoch, seat }
            }
            End::Roll { seat } => {
                let before = seat.checked_sub(1).map(|before| &fleet.workers[before]);
                if before.is_some_and(|before| !before.is_taken() && before.start_at.is_some()) {
                    return Some(Under { fault, end: End::Roll { seat } });
                }
                let next = fleet.workers.get_mut(seat)?;
                if next.is_taken() {
                    next.roll();
                }
                End::Roll { seat: seat + 1 }
            }
            End::Terminations(left) => {
                let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                             WHERE application_name LIKE 'tasker%' AND state <> 'idle'";
                let ended = fleet.database.glance(ended).unwrap_or(0);
                let left = left.saturating_sub(u32::try_from(ended).expect("a few"));
                if left == 0 {
                    return None;
                }
                End::Terminations(left)
            }
        };
        Some(Under { fault, end })
    }

    /// Ends it now, because the round is over.
    pub fn give_up(self, fleet: &mut Fleet) -> Option<Under> {
        match self.end {
            // These end by themselves, and have to.
            End::At(..) | End::Takeover { .. } | End::Roll { .. } => self.go_on(fleet),
            // There is nothing left to do for the sessions that it waits for.
            End::Terminations(_) => None,
        }
    }
}

impl Undo {
    fn act(self, fleet: &mut Fleet) {
        match self {
            Undo::ContinueBroker(seat) => fleet.brokers[seat].signal(Signal::SIGCONT),
            Undo::ContinueWorker(seat) => fleet.workers[seat].signal(Signal::SIGCONT),
            Undo::StartPostgres => fleet.cluster.start_again(),
            Undo::ContinuePostgres => fleet.cluster.signal_all(Signal::SIGCONT),
            Undo::FastCommits => fleet.until("commits are fast again", |fleet| fleet.slow_commits(0)),
            Undo::HealWork => fleet.work.iter().for_each(Proxy::let_through),
            Undo::HealPostgres => fleet.postgres.let_through(),
        }
    }
}

impl Fleet {
    /// The seat of the owner, or else the first that is taken.
    fn owning_seat(&mut self) -> &mut Seat {
        let seat = self.owner().or_else(|| self.brokers.iter().position(Seat::is_taken)).unwrap_or(0);
        &mut self.brokers[seat]
    }

    fn working_seat(&self) -> Option<usize> {
        self.workers.iter().position(Seat::is_taken)
    }

    /// The process behind the writer's session.
    fn writer(&self) -> Option<i64> {
        self.database.glance("SELECT backend_pid::bigint FROM tasker.lanes WHERE backend_pid IS NOT NULL")
    }

    /// Whether Postgres was there to be told.
    fn slow_commits(&self, delay_us: u32) -> bool {
        let siblings = if delay_us > 0 { 0 } else { 5 };
        // Settings of a server cannot be changed inside of a transaction, and so not in one string.
        let settings = [("commit_delay", delay_us), ("commit_siblings", siblings)];
        let set = |(name, value)| self.database.attempt(&format!("ALTER SYSTEM SET {name} = {value}"));
        settings.into_iter().all(set) && self.database.attempt("SELECT pg_reload_conf()")
    }
}
