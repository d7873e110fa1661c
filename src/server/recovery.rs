//! The start: the lane is claimed, and the engine rebuilt from what the store holds unfinished.

use std::time::Duration;

use sqlx::PgPool;
use tasker_engine::{Effects, Engine, Now, Snapshot, TemplateSource};
use tracing::{info, warn};
use uuid::Uuid;

use super::Error;
use super::handle::{Handle, Stage};
use super::templates;
use crate::config::Config;
use crate::store::{self, StoredTemplate};

/// The lane of a broker: with one broker a database, there is one.
const LANE: i16 = 1;

/// Shortest wait of a standby before it looks at the lease again.
const STANDBY_WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait: an owner that gives its lease back early, or dies with its session, is succeeded within this time.
const STANDBY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Takes the lane, as a standby if need be.
pub(super) async fn claim(
    url: &str,
    broker_id: Uuid,
    lease: Duration,
    handle: &Handle,
) -> Result<store::Writer, Error> {
    let broker = store::Broker {
        id: broker_id,
        host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut waiting = false;
    loop {
        match store::claim(url, &broker, LANE, lease).await {
            Err(store::Error::Held { owner, remaining_ms, .. }) => {
                // At each look: whoever watches sees that it still does.
                handle.set_stage(Stage::Standby);
                if !waiting {
                    waiting = true;
                    info!(%owner, "another broker has the lane; waiting as its standby");
                }
                let remaining = Duration::from_millis(u64::try_from(remaining_ms).unwrap_or(0));
                tokio::time::sleep(remaining.clamp(STANDBY_WAIT_MIN, STANDBY_WAIT_MAX)).await;
            }
            // A start says what is wrong; a standby is there for when something goes wrong.
            Err(error @ store::Error::Unavailable { .. }) if waiting => {
                warn!(%error, "failed to look at the lease; trying again");
                handle.set_stage(Stage::Standby);
                tokio::time::sleep(STANDBY_WAIT_MAX).await;
            }
            claimed => {
                handle.set_stage(Stage::Starting);
                return Ok(claimed?);
            }
        }
    }
}

/// Rebuilds engines from what the store holds.
pub(super) struct Recovery {
    pub runtime: tokio::runtime::Handle,
    pub pool: PgPool,
    pub config: Config,
}

impl Recovery {
    /// As [`recover`], from outside of the runtime, and for as long as Postgres is away.
    pub fn recover(&self, now: Now, out: &mut Effects) -> Result<Engine, Error> {
        self.runtime.block_on(async {
            loop {
                match recover(&self.pool, &self.config, now, out).await {
                    Err(Error::Store(error @ store::Error::Unavailable { .. })) => {
                        warn!(%error, "failed to read what is unfinished; trying again");
                        tokio::time::sleep(STANDBY_WAIT_MAX).await;
                    }
                    recovered => return recovered,
                }
            }
        })
    }
}

/// Rebuilds the engine.
pub(super) async fn recover(pool: &PgPool, config: &Config, now: Now, out: &mut Effects) -> Result<Engine, Error> {
    let recovered = store::recover(pool, LANE).await?;
    let templates = recovered.templates.iter().map(read_template).collect::<Result<Vec<TemplateSource>, Error>>()?;
    let snapshot = Snapshot {
        templates,
        tasks: recovered.tasks,
        ended_tasks: recovered.ended_tasks,
        batches: recovered.batches,
        workers: recovered.workers,
        newest_batch: recovered.newest_batch,
        pauses: recovered.pauses,
    };
    info!(
        templates = snapshot.templates.len(),
        tasks = snapshot.tasks.len(),
        batches = snapshot.batches.len(),
        workers = snapshot.workers.len(),
        "took up what was unfinished"
    );
    Ok(Engine::recover(config.engine(), seed(), now, snapshot, out))
}

fn read_template(stored: &StoredTemplate) -> Result<TemplateSource, Error> {
    let name = stored.key.to_string();
    templates::compile(&name, &stored.yaml, stored.environment.as_deref())
        .map_err(|refusal| Error::Template { template: name, problem: refusal.message })
}

/// The engine's seed, from the operating system's randomness.
fn seed() -> [u64; 2] {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    [high, low]
}
