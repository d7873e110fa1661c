//! Requests that applications insert in their own transactions: looked for once a second, handed to the engine, and
//! removed by the commit that creates their tasks.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::PgPool;
use tasker_engine::{Event, Refusal, Save, TaskRequest};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::warn;

use super::event_loop::Input;
use crate::gateway;
use crate::store;

/// Time between looks at an inbox that was empty. An idle broker asks Postgres nothing more often than this.
const PAUSE: Duration = Duration::from_secs(1);

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

/// Looks until the loop is gone, which tells what became of the rows.
pub(super) async fn run(
    pool: PgPool,
    inputs: UnboundedSender<Input>,
    mut told: UnboundedReceiver<Handed>,
    payload_bytes_max: usize,
) {
    let mut handed: HashSet<i64> = HashSet::new();
    loop {
        let mut later = false;
        while let Ok(fate) = told.try_recv() {
            later |= note(&mut handed, &fate);
        }
        if later {
            tokio::time::sleep(PAUSE).await;
        }
        let in_flight: Vec<i64> = handed.iter().copied().collect();
        match store::take_inbox(&pool, ROWS_MAX, &in_flight).await {
            Ok(rows) if rows.is_empty() => tokio::time::sleep(PAUSE).await,
            Ok(rows) => {
                handed.extend(rows.iter().map(|(row, _)| *row));
                let rows = rows.into_iter().map(|(row, request)| (row, checked(request, payload_bytes_max))).collect();
                if inputs.send(Input::Answer(Event::InboxTaken { rows })).is_err() {
                    return;
                }
                // The next look waits for a commit, so that a full inbox is taken at the pace of the writer.
                let Some(fate) = told.recv().await else { return };
                if note(&mut handed, &fate) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) => {
                warn!(%error, "failed to look into the inbox");
                tokio::time::sleep(PAUSE).await;
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
