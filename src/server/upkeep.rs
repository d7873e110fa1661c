//! What the database needs now and then while a broker runs.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tracing::warn;

use super::metrics::Metrics;
use crate::store;

/// Time between two looks. Partitions are made for months ahead, so that a failed look can wait for the next.
const PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes partitions in time, for as long as the runtime lives. The start of the broker has looked already.
pub(super) async fn run(pool: PgPool, metrics: Arc<Metrics>) {
    metrics.upkeep_done();
    loop {
        tokio::time::sleep(PAUSE).await;
        let made = match pool.acquire().await {
            Ok(mut session) => store::ensure_partitions(&mut session).await,
            Err(error) => Err(error.into()),
        };
        match made {
            Ok(_) => metrics.upkeep_done(),
            Err(error) => warn!(%error, "failed to make partitions ahead of time"),
        }
    }
}
