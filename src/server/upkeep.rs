//! What the database needs now and then while a broker runs: partitions for the months to come, and none for those whose
//! time is over.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::config;
use crate::store;
use crate::store::retention::{Days, Error, Report, Task, prune};

/// Time between two looks. Partitions are made for months ahead, so that a failed look can wait for the next.
const PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// From the start to the first look: a broker that has just started has other things to do, and one that is started anew
/// every night must come to it as well.
const DELAY: Duration = Duration::from_secs(10 * 60);

/// What is to be done.
pub(super) struct Upkeep {
    pub pool: PgPool,
    pub database_url: String,
    pub retention: Task,
    pub metrics: Arc<Metrics>,
}

impl From<&config::Retention> for Task {
    fn from(settings: &config::Retention) -> Task {
        let days = Days {
            complete: settings.complete_days,
            cancelled: settings.cancelled_days,
            resolved: settings.resolved_days,
            error: settings.error_days,
            group_log: settings.group_log_days,
            commands: settings.commands_days,
            received_results: settings.received_results_days,
            idempotency_keys: settings.idempotency_keys_days,
        };
        let archive = Some(&settings.archive_dir).filter(|folder| !folder.is_empty()).map(Into::into);
        Task { days, archive, dry_run: false }
    }
}

/// Does it daily, for as long as the runtime lives.
pub(super) async fn run(upkeep: Upkeep) {
    // Dropped with this task: then the broker ends, and what is under way is given up.
    let (_alive, ended) = watch::channel(());
    // The start of the broker has made partitions already.
    upkeep.metrics.upkeep_done();
    tokio::time::sleep(DELAY).await;
    loop {
        let made = match upkeep.pool.acquire().await {
            Ok(mut session) => store::ensure_partitions(&mut session).await,
            Err(error) => Err(error.into()),
        };
        match made {
            Ok(_) => upkeep.metrics.upkeep_done(),
            Err(error) => warn!(%error, "failed to make partitions ahead of time"),
        }
        if !upkeep.retention.days.keep_everything() {
            let (url, task, mut ended) = (upkeep.database_url.clone(), upkeep.retention.clone(), ended.clone());
            // On a thread of its own: compressing an archive would keep status requests waiting.
            let pruned = tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.inspect_err(|error| warn!(%error, "failed to start a runtime")).ok()?;
                runtime.block_on(async {
                    tokio::select! {
                        pruned = prune(&url, &task) => Some(pruned),
                        _ = ended.changed() => None,
                    }
                })
            });
            if let Ok(Some(pruned)) = pruned.await {
                tell(pruned);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell(pruned: Result<Report, Error>) {
    match pruned {
        Ok(report) => {
            if let Some(reason) = &report.stopped {
                warn!(reason, "what is old enough has not all left; the next look goes on");
            }
            let tasks: u64 = report.months.iter().flat_map(|month| month.tasks_left.values()).sum();
            info!(tasks, records = report.records.len(), keys = report.idempotency_keys, "old rows have left");
        }
        Err(Error::Running) => info!("another run prunes the database"),
        Err(error) => warn!(%error, "failed to let old rows leave"),
    }
}
