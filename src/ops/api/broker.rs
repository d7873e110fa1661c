//! The broker itself: how it is, and what it has counted.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tasker_engine::StepEnd;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::view::Reply;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{HealthCheck, HealthLevel, HealthReport};
use crate::server::metrics::{Counts, MINUTES, Minute, NamespaceCounts, TASK_ENDS};

/// Show how the broker is
#[utoipa::path(get, path = "/health", operation_id = "show_health", tag = "broker",
    responses((status = 200, description = "As `HealthCheck` with the level `full` says it.", body = HealthReport)))]
pub(super) async fn health(State(site): State<Shared>) -> Result<Json<Reply<HealthReport>>, Problem> {
    Ok(Json(Reply(site.ask(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full }).await?)))
}

/// What was counted since the broker started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    broker_id: Uuid,
    epoch: i64,
    /// Since when it has counted.
    since_ms: i64,
    /// By namespace; beyond some hundred of them, the rest together.
    namespaces: Vec<NamespaceStats>,
    /// Batches that were handed out.
    batches: u64,
    /// Batches whose closing report disagreed with what was reported before.
    batches_differing: u64,
    workers_registered: u64,
    /// Registrations that ended, by reason.
    workers_ended: BTreeMap<&'static str, u64>,
    /// Results that were not simply accepted, by disposition.
    results_noted: BTreeMap<&'static str, u64>,
    /// What operators did, by operation.
    acts: BTreeMap<&'static str, u64>,
    /// The last minutes that are over, oldest first, as many as were asked for.
    minutes: Vec<MinuteStats>,
}

/// A namespace since the broker started.
#[derive(Debug, Serialize, ToSchema)]
struct NamespaceStats {
    namespace: String,
    tasks_created: u64,
    /// Tasks that ended, by their state.
    tasks_ended: BTreeMap<&'static str, u64>,
    /// Steps that were handed out, each time that they were.
    steps_dispatched: u64,
    /// Steps that were settled and attempts that ended, by how.
    steps_ended: BTreeMap<&'static str, u64>,
}

/// What happened within a minute, and how it was at its end.
#[derive(Debug, Serialize, ToSchema)]
struct MinuteStats {
    starts_at_ms: u64,
    tasks_created: u32,
    /// Tasks that ended, by their state.
    tasks_ended: BTreeMap<&'static str, u64>,
    steps_dispatched: u32,
    /// Steps that were settled and attempts that ended, by how.
    steps_ended: BTreeMap<&'static str, u64>,
    /// How long half of the steps were ready at most before they were handed out, in microseconds, up to an eighth more; 0
    /// when there were none.
    queued_p50_us: u64,
    /// The same of 99 in 100.
    queued_p99_us: u64,
    /// How long half of the handlers ran at most.
    ran_p50_us: u64,
    /// The same of 99 in 100.
    ran_p99_us: u64,
    steps_ready: u64,
    steps_in_progress: u64,
}

fn by_name<N: Copy + Into<u64>>(
    names: impl IntoIterator<Item = &'static str>,
    counts: &[N],
) -> BTreeMap<&'static str, u64> {
    names.into_iter().zip(counts.iter().map(|&count| count.into())).collect()
}

fn tasks_by_end<N: Copy + Into<u64>>(counts: &[N]) -> BTreeMap<&'static str, u64> {
    by_name(TASK_ENDS.iter().map(|state| state.as_str()), counts)
}

fn steps_by_end<N: Copy + Into<u64>>(counts: &[N]) -> BTreeMap<&'static str, u64> {
    by_name(StepEnd::ALL.iter().map(|end| end.as_str()), counts)
}

impl From<NamespaceCounts> for NamespaceStats {
    fn from(counted: NamespaceCounts) -> NamespaceStats {
        let NamespaceCounts { namespace, counts } = counted;
        NamespaceStats {
            namespace: namespace.into(),
            tasks_created: counts.tasks_created,
            tasks_ended: tasks_by_end(&counts.tasks_ended),
            steps_dispatched: counts.steps_dispatched,
            steps_ended: steps_by_end(&counts.steps_ended),
        }
    }
}

impl From<&Minute> for MinuteStats {
    fn from(minute: &Minute) -> MinuteStats {
        MinuteStats {
            starts_at_ms: minute.starts_at.saturating_mul(1_000),
            tasks_created: minute.tasks_created,
            tasks_ended: tasks_by_end(&minute.tasks_ended),
            steps_dispatched: minute.steps_dispatched,
            steps_ended: steps_by_end(&minute.steps_ended),
            queued_p50_us: minute.queued_us[0],
            queued_p99_us: minute.queued_us[1],
            ran_p50_us: minute.ran_us[0],
            ran_p99_us: minute.ran_us[1],
            steps_ready: minute.steps_ready,
            steps_in_progress: minute.steps_in_progress,
        }
    }
}

/// How much of the past is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Past {
    /// Minutes; the broker keeps a day.
    #[serde(default = "Past::default_minutes")]
    #[param(minimum = 0, maximum = 1440, default = 60)]
    minutes: usize,
}

impl Past {
    fn default_minutes() -> usize {
        60
    }
}

/// Show what was counted
///
/// Since the broker started, and minute by minute. `/metrics` has the same and more for a scraper.
#[utoipa::path(get, path = "/stats", operation_id = "show_stats", tag = "broker", params(Past),
    responses((status = 200, description = "The counts.", body = Stats)))]
pub(super) async fn stats(
    State(site): State<Shared>,
    past: Result<Query<Past>, QueryRejection>,
) -> Result<Json<Stats>, Problem> {
    let Query(Past { minutes: wanted }) = past?;
    if wanted > MINUTES {
        let problem = Problem::invalid("minutes", format!("is {wanted}, not from 0 to {MINUTES}"));
        return Err(problem.limited_to(MINUTES as u64));
    }
    let observer = &site.inside()?.observer;
    let minutes = observer.history().await.ok_or_else(|| Problem::unavailable("the broker's loop does not answer"))?;
    let counts: Counts = observer.counts();
    let since = counts.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Json(Stats {
        broker_id: counts.broker_id,
        epoch: counts.epoch,
        since_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        namespaces: counts.namespaces.into_iter().map(NamespaceStats::from).collect(),
        batches: counts.batches,
        batches_differing: counts.batches_differing,
        workers_registered: counts.workers_registered,
        workers_ended: counts.workers_ended.into_iter().collect(),
        results_noted: counts.results_noted.into_iter().collect(),
        acts: counts.operator_actions.into_iter().collect(),
        minutes: minutes[minutes.len().saturating_sub(wanted)..].iter().map(MinuteStats::from).collect(),
    }))
}
