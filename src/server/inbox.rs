//! Requests that applications insert in their own transactions: looked for once a second, and when one is announced, handed to
//! the engine, and removed by the commit that creates their tasks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tasker_engine::{Event, Refusal, Save, TaskRequest};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::event_loop::Input;
use super::metrics::Metrics;
use crate::gateway;
use crate::store;

/// Time between looks at an inbox that was empty. An idle broker asks Postgres nothing more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// Time between looks that are asked for: a tenth of what an announced row may wait, and at most a hundred looks a second,
/// each some 0.2 ms of Postgres, however many announcements come.
const PAUSE_ANNOUNCED: Duration = Duration::from_millis(10);

/// Rows taken at a time: a commit of some 10 ms.
const ROWS_MAX: u32 = 1_000;

/// What became of rows that were handed in.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A commit has removed them, or noted why they stay.
    Removed(Vec<i64>),
    /// They could not be taken: to be handed in again after a pause.
    Later(Vec<i64>),
}

/// What the loop tells.
pub(super) struct Told {
    /// What became of rows.
    pub fates: UnboundedReceiver<Handed>,
    /// That an application has put rows into the inbox. It remembers one announcement, so that while a look is under way at
    /// most one more waits.
    pub announced: Arc<Notify>,
}

/// Looks until the loop is gone, which tells what became of the rows.
pub(super) async fn run(
    pool: PgPool,
    inputs: UnboundedSender<Input>,
    told: Told,
    payload_bytes_max: usize,
    metrics: Arc<Metrics>,
) {
    let Told { mut fates, announced } = told;
    let mut handed: HashSet<i64> = HashSet::new();
    loop {
        let mut later = false;
        while let Ok(fate) = fates.try_recv() {
            later |= note(&mut handed, &fate);
        }
        if later {
            sleep(PAUSE).await;
        }
        let in_flight: Vec<i64> = handed.iter().copied().collect();
        match store::take_inbox(&pool, ROWS_MAX, &in_flight).await {
            Ok(found) if found.rows.is_empty() => {
                metrics.inbox_seen(0);
                let again = Instant::now() + PAUSE_ANNOUNCED;
                if timeout(PAUSE, announced.notified()).await.is_ok() {
                    sleep_until(again).await;
                }
            }
            Ok(store::InboxRows { rows, oldest_ms }) => {
                metrics.inbox_seen(oldest_ms);
                handed.extend(rows.iter().map(|(row, _)| *row));
                let rows = rows.into_iter().map(|(row, request)| (row, checked(request, payload_bytes_max))).collect();
                if inputs.send(Input::Answer(Event::InboxTaken { rows })).is_err() {
                    return;
                }
                // The next look waits for a commit, so that a full inbox is taken at the pace of the writer.
                let Some(fate) = fates.recv().await else { return };
                if note(&mut handed, &fate) {
                    sleep(PAUSE).await;
                }
            }
            Err(error) => {
                warn!(%error, "failed to look into the inbox");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Forgets rows that were handed in. Returns whether they come again, and so call for a pause.
fn note(handed: &mut HashSet<i64>, fate: &Handed) -> bool {
    let (rows, later) = match fate {
        Handed::Removed(rows) => (rows, false),
        Handed::Later(rows) => (rows, true),
    };
    for row in rows {
        handed.remove(row);
    }
    later
}

/// A request that is held to what those on the wire are held to.
fn checked(request: Result<TaskRequest, Refusal>, payload_bytes_max: usize) -> Result<TaskRequest, Refusal> {
    let request = request?;
    gateway::check_request(&request, payload_bytes_max)?;
    Ok(request)
}

/// The inbox rows that a commit removes.
pub(super) fn removed_rows(saves: &[Save]) -> Vec<i64> {
    saves.iter().filter_map(|save| if let Save::InboxTaken { row, .. } = save { Some(*row) } else { None }).collect()
}
