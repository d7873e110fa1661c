//! Whether the broker is well, and what it refuses while it is not.

use std::time::{Duration, Instant};

use tasker_engine::{Event, HealthCounts, Origin, Refusal, RefusalKind};
use uuid::Uuid;

use super::distribution::Distribution;
use crate::gateway::PeerCounts;
use crate::protocol::{HealthLevel, HealthReport};

/// How long Postgres may be away before new submissions are refused instead of waiting for it. Half of the time-out that
/// clients use unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the writer has its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Postgres {
    Up,
    Down,
}

/// What the loop knows about the broker's health.
#[derive(Debug)]
pub(crate) struct Health {
    broker_id: Uuid,
    epoch: i64,
    started: Instant,
    down_since: Option<Instant>,
    draining: bool,
    commit_sizes: Distribution,
    commit_times_us: Distribution,
}

impl Health {
    pub fn new(broker_id: Uuid, epoch: i64) -> Health {
        Health {
            broker_id,
            epoch,
            started: Instant::now(),
            down_since: None,
            draining: false,
            commit_sizes: Distribution::default(),
            commit_times_us: Distribution::default(),
        }
    }

    /// Counts a group that has become durable.
    pub fn note_commit(&mut self, saves: usize, took: Duration) {
        self.commit_sizes.add(u64::try_from(saves).unwrap_or(u64::MAX));
        self.commit_times_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn set_postgres(&mut self, state: Postgres) {
        self.down_since = match state {
            Postgres::Up => None,
            Postgres::Down => Some(self.down_since.unwrap_or_else(Instant::now)),
        };
    }

    pub fn is_postgres_down(&self) -> bool {
        self.down_since.is_some()
    }

    pub fn set_draining(&mut self) {
        self.draining = true;
    }

    /// Refuses a new submission when the broker is stopping or Postgres has been away for too long. Everything else is taken
    /// or waits: workers' results are held until they are durable, and questions are answered when they can be.
    pub fn check_up(&self, event: &Event) -> Result<(), Refusal> {
        if !matches!(event, Event::TasksSubmitted { .. }) {
            return Ok(());
        }
        let message = if self.draining {
            "the broker is stopping and takes no new tasks; try again in a moment"
        } else if self.down_since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            "Postgres is away, so that no task can be made durable; try again later"
        } else {
            return Ok(());
        };
        Err(Refusal::new(RefusalKind::Unavailable, message))
    }

    pub fn report(
        &self,
        counts: &HealthCounts,
        peers: Option<PeerCounts>,
        origin: Origin,
        level: HealthLevel,
    ) -> HealthReport {
        let mut problems = Vec::new();
        if self.down_since.is_some() {
            problems.push("Postgres is away: nothing can be made durable".to_owned());
        }
        if self.draining {
            problems.push("the broker is stopping: it takes no new tasks and hands out no steps".to_owned());
        }
        for template in &counts.templates_without_worker {
            problems.push(format!("no worker serves {template}, which has steps waiting"));
        }
        let mut report = HealthReport {
            correlation_id: origin.correlation,
            status: if problems.is_empty() { "ok" } else { "degraded" }.to_owned(),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker_id: self.broker_id,
            epoch: self.epoch,
            uptime_seconds: self.started.elapsed().as_secs(),
            postgres: if self.down_since.is_some() { "down" } else { "up" }.to_owned(),
            ..HealthReport::default()
        };
        if level != HealthLevel::Basic {
            report.tasks = Some(counts.tasks);
            report.steps_ready = Some(counts.steps_ready);
            report.steps_in_progress = Some(counts.steps_in_progress);
            report.workers = Some(counts.workers);
            report.slots = Some(counts.slots);
            report.templates = Some(counts.templates);
            report.namespaces_paused = counts.namespaces_paused.iter().map(ToString::to_string).collect();
        }
        if level == HealthLevel::Full {
            let templates = counts.templates_without_worker.iter();
            report.templates_without_worker = templates.map(ToString::to_string).collect();
            report.commit_sizes = self.commit_sizes.buckets();
            report.commit_times_us = self.commit_times_us.buckets();
        }
        if let Some(peers) = peers {
            report.connections = Some(peers.connections);
            report.connections_cut = Some(peers.connections_cut);
            report.handshakes_failed = Some(peers.handshakes_failed);
            report.refusals = peers.refusals;
        }
        report
    }
}
