//! Commits groups, one after the other, and gives up on none: a connection that is gone is tried again until the outcome
//! of the group is known.

use std::time::Duration;

use crossbeam_channel::Sender;
use tasker_engine::Save;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{info, warn};
use uuid::Uuid;

use super::event_loop::Input;
use super::health::Postgres;
use crate::store;

/// First pause before a connection is tried again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between tries: a Postgres that is back is found within that time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Saves to be written in one transaction.
#[derive(Debug)]
pub(crate) struct Group {
    pub saves: Vec<Save>,
    pub oldest_open_batch: Option<Uuid>,
}

/// What became of a group.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is durable.
    Committed,
    /// The database refused a row of it; nothing of it is there.
    Refused(store::Error),
    /// No further group can be written.
    Failed(super::Error),
}

/// Writes groups until the loop lets go of its end, then gives the lease back.
pub(crate) async fn run(
    mut writer: store::Writer,
    mut groups: UnboundedReceiver<Group>,
    inputs: Sender<Input>,
    renew_every: Duration,
) {
    let mut lost = false;
    loop {
        let group = match tokio::time::timeout(renew_every, groups.recv()).await {
            Ok(Some(group)) => group,
            Ok(None) => break,
            Err(_) => {
                if !keep_lease(&mut writer, &inputs).await {
                    lost = true;
                    break;
                }
                continue;
            }
        };
        let verdict = write(&mut writer, &group, &inputs).await;
        lost = matches!(verdict, Verdict::Failed(_));
        // The loop may have ended; then nobody asks any more.
        let _ = inputs.send(Input::Written(verdict));
        if lost {
            break;
        }
    }
    if !lost && let Err(error) = writer.release().await {
        warn!(%error, "failed to give the lease back; it ends by itself");
    }
}

async fn write(writer: &mut store::Writer, group: &Group, inputs: &Sender<Input>) -> Verdict {
    let rows = store::Group { saves: &group.saves, oldest_open_batch: group.oldest_open_batch };
    let mut outcome = writer.commit(&rows).await;
    let mut pause = PAUSE_MIN;
    let mut down = false;
    loop {
        match outcome {
            Ok(_) => {
                if down {
                    info!("Postgres is back");
                    let _ = inputs.send(Input::Postgres(Postgres::Up));
                }
                return Verdict::Committed;
            }
            Err(error @ store::Error::Unavailable { .. }) => {
                if !down {
                    down = true;
                    warn!(%error, "Postgres is away; the commit is tried until its outcome is known");
                    let _ = inputs.send(Input::Postgres(Postgres::Down));
                }
            }
            Err(error @ store::Error::Refused { .. }) => {
                if down {
                    let _ = inputs.send(Input::Postgres(Postgres::Up));
                }
                return Verdict::Refused(error);
            }
            Err(error) => return Verdict::Failed(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        outcome = writer.resume(&rows).await;
    }
}

/// Renews the lease of an idle broker. `false` when it is lost.
async fn keep_lease(writer: &mut store::Writer, inputs: &Sender<Input>) -> bool {
    match writer.renew().await {
        Ok(()) => true,
        Err(error @ store::Error::Unavailable { .. }) => {
            // The next commit, or the next renewal, tries again; until the lease has run out nobody else writes.
            warn!(%error, "failed to renew the lease");
            true
        }
        Err(error) => {
            let _ = inputs.send(Input::Written(Verdict::Failed(error.into())));
            false
        }
    }
}
