//! The processes of a round, each in its seat: whoever has to be there and is not is started again, as a supervisor does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::clock::FakeClock;
use super::cluster::Cluster;
use super::plan::Plan;
use super::process::Process;
use super::proxy::{Proxy, Upstream};
use crate::support::{Database, PATIENCE, Serves, broker_command, repository, worker_command};

/// Steps at once in a worker.
const CONCURRENCY: u32 = 6;

/// A supervisor gives a process that ended by itself a moment.
const PAUSE: Duration = Duration::from_millis(300);

/// Short times, so that a round sees all of them pass.
pub const SETTINGS: [(&str, &str); 7] = [
    ("TASKER__ENGINE__HEARTBEAT_MS", "1000"),
    ("TASKER__ENGINE__WORKER_TIMEOUT_MS", "3000"),
    ("TASKER__ENGINE__RECOVERY_GRACE_MS", "4000"),
    ("TASKER__DATABASE__LEASE_SECONDS", "3"),
    // How a step dies of its workers' deaths has a story of its own; here every step can end.
    ("TASKER__ENGINE__POISON_LIMIT", "1000"),
    ("TASKER__LOG__LEVEL", "info"),
    // Deaths of brokers are looked for in their logs.
    ("NO_COLOR", "1"),
];

/// Dropped from top to bottom: Postgres last.
pub struct Fleet {
    pub brokers: Vec<Seat>,
    pub workers: Vec<Seat>,
    /// Between workers, clients and each broker.
    pub work: Vec<Proxy>,
    /// Between brokers and Postgres.
    pub postgres: Proxy,
    pub clock: Option<FakeClock>,
    pub database: Database,
    pub cluster: Cluster,
    pub folder: PathBuf,
    ports: Vec<[u16; 2]>,
}

/// The place of a process.
#[derive(Default)]
pub struct Seat {
    pub process: Option<Process>,
    /// When one is to start here.
    pub start_at: Option<Instant>,
}

impl Fleet {
    /// Starts all of them.
    pub fn start(plan: &Plan, folder: &Path) -> Fleet {
        let cluster = Cluster::start();
        let database = Database::at(cluster.url());
        let postgres = Proxy::start(Upstream::Socket(cluster.socket()));
        let brokers = if plan.standby { 2 } else { 1 };
        let ports: Vec<[u16; 2]> = (0..brokers).map(|_| free_ports()).collect();
        let work = ports.iter().map(|[work, _]| Proxy::start(Upstream::Port(*work))).collect();
        let clock = plan.sets_clocks().then(|| FakeClock::at(&folder.join("clock")));
        let now = Some(Instant::now());
        let seats = |count| (0..count).map(|_| Seat { process: None, start_at: now }).collect();
        let (brokers, workers) = (seats(brokers), seats(plan.workers));
        let folder = folder.to_owned();
        let mut fleet = Fleet { brokers, workers, work, postgres, clock, database, cluster, folder, ports };
        // The first one is the owner, so that a seed means the same each time.
        fleet.start_broker(0);
        fleet.until("a broker has the lane", |fleet| fleet.owner().is_some());
        fleet.supervise();
        let registered = "SELECT count(*) FROM tasker.worker_registrations WHERE ended_at IS NULL";
        let workers = i64::try_from(plan.workers).expect("a few");
        fleet.until("all workers are registered", |fleet| fleet.database.glance(registered) == Some(workers));
        fleet
    }

    /// Waits for something that has to come.
    pub fn until(&mut self, what: &str, mut look: impl FnMut(&mut Fleet) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(super::process::LOOK);
        }
    }

    /// The endpoints that clients and workers know.
    pub fn endpoints(&self) -> Vec<String> {
        self.work.iter().map(Proxy::endpoint).collect()
    }

    /// The seat of the broker that has the lane. One whose session is gone has lost it already: the row names it until
    /// somebody claims the lane.
    pub fn owner(&self) -> Option<usize> {
        let pid = self.database.glance(
            "SELECT broker.pid FROM tasker.lanes AS lane JOIN tasker.brokers AS broker ON broker.broker_id = lane.owner
             JOIN pg_stat_activity AS session ON session.pid = lane.backend_pid
                                             AND session.backend_start = lane.backend_start",
        )?;
        let sits = |seat: &Seat| seat.process.as_ref().is_some_and(|process| i64::from(process.pid()) == pid);
        self.brokers.iter().position(sits)
    }

    /// Starts whoever is due, and looks after whoever has ended. Panics when one had no reason to.
    pub fn supervise(&mut self) {
        for seat in 0..self.brokers.len() {
            if self.brokers[seat].is_due() {
                self.start_broker(seat);
            }
            let Some(end) = self.brokers[seat].end() else { continue };
            let reasons = ["was taken over", "the database is unavailable"];
            let has_reason = reasons.iter().any(|reason| end.said.contains(reason));
            assert!(end.is_fine() || !end.was_asked && has_reason, "broker {seat} ended:\n{}", end.tail());
        }
        for seat in 0..self.workers.len() {
            if self.workers[seat].is_due() {
                self.start_worker(seat);
            }
            let Some(end) = self.workers[seat].end() else { continue };
            assert!(end.is_fine(), "worker {seat} ended:\n{}", end.tail());
        }
    }

    fn start_broker(&mut self, seat: usize) {
        let [work, events] = self.ports[seat].map(|port| format!("tcp://127.0.0.1:{port}"));
        let url = self.cluster.url_by(self.postgres.port());
        let mut command = broker_command(&url, &work, &events);
        command.envs(SETTINGS);
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        let process = Process::start(command, &self.folder.join(format!("broker-{seat}.log")));
        self.brokers[seat] = Seat { process: Some(process), start_at: None };
    }

    fn start_worker(&mut self, seat: usize) {
        let endpoints = self.endpoints();
        let brokers: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let handlers = [repository("tests/chaos/ruby/handlers.rb")];
        let templates = [repository("tests/chaos/templates")];
        let name = format!("worker-{seat}");
        let command = worker_command(&brokers, &name, CONCURRENCY, &handlers, &Serves::Files(&templates));
        let process = Process::start(command, &self.folder.join(format!("{name}.log")));
        self.workers[seat] = Seat { process: Some(process), start_at: None };
    }

    /// Everybody leaves in order: workers first, then brokers.
    pub fn leave(&mut self) {
        for seat in &mut self.workers {
            seat.leave();
        }
        self.until("all workers have left", |fleet| fleet.have_left(|fleet| &mut fleet.workers));
        let open = "SELECT count(*) FROM tasker.batches AS batch WHERE NOT EXISTS (
                        SELECT FROM tasker.batch_closings AS closing WHERE closing.batch_id = batch.batch_id)";
        self.until("no batch is open", |fleet| fleet.database.glance(open) == Some(0));
        for seat in &mut self.brokers {
            seat.leave();
        }
        self.until("all brokers have left", |fleet| fleet.have_left(|fleet| &mut fleet.brokers));
    }

    fn have_left(&mut self, seats: impl Fn(&mut Fleet) -> &mut Vec<Seat>) -> bool {
        self.supervise();
        seats(self).iter().all(|seat| seat.process.is_none())
    }

    /// Keeps what Postgres has said with the logs of the others.
    pub fn keep_log(&self) {
        let _ = std::fs::write(self.folder.join("postgres.log"), self.cluster.log());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.cluster.signal_all(Signal::SIGCONT);
        self.keep_log();
    }
}

/// How a process has ended by itself, or because it was asked to.
struct End {
    was_asked: bool,
    success: bool,
    said: String,
}

impl End {
    fn is_fine(&self) -> bool {
        self.was_asked && self.success
    }

    fn tail(&self) -> String {
        let lines: Vec<&str> = self.said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Seat {
    /// Whoever sits here goes on, and stays.
    pub fn is_taken(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.leaving_since.is_none())
    }

    /// `kill -9`; another one follows at that time.
    pub fn kill(&mut self, start_at: Option<Instant>) {
        *self = Seat { process: None, start_at };
    }

    /// SIGTERM; nobody follows.
    pub fn leave(&mut self) {
        self.start_at = None;
        if let Some(process) = &mut self.process {
            process.terminate();
        }
    }

    /// SIGTERM; another one follows at once.
    pub fn roll(&mut self) {
        self.leave();
        self.start_at = Some(Instant::now());
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    fn is_due(&self) -> bool {
        self.process.is_none() && self.start_at.is_some_and(|at| at <= Instant::now())
    }

    fn end(&mut self) -> Option<End> {
        let process = self.process.as_mut()?;
        let Some(status) = process.ended() else {
            let overdue = process.leaving_since.is_some_and(|since| since.elapsed() > PATIENCE);
            assert!(!overdue, "{} does not leave:\n{}", process.pid(), process.said());
            return None;
        };
        let was_asked = process.leaving_since.is_some();
        let end = End { was_asked, success: status.success(), said: process.said() };
        self.process = None;
        if !was_asked {
            self.start_at = Some(Instant::now() + PAUSE);
        }
        Some(end)
    }
}

/// Two ports that are free now.
pub fn free_ports() -> [u16; 2] {
    let take = || std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let taken = [take(), take()];
    taken.map(|listener| listener.local_addr().expect("it is bound").port())
}
