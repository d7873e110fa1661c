//! Commits groups, one after the other, and gives up on none: a connection that is gone is tried again until the outcome
//! of the group is known.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tasker_engine::Save;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{info, warn};
use uuid::Uuid;

use super::event_loop::Input;
use super::health::Postgres;
use super::metrics::Metrics;
use crate::awake::Awake;
use crate::store;

/// First pause before a connection is tried again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between tries: a Postgres that is back is found within that time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A Postgres that has not answered for this long counts as away, although the connection stands. The largest group takes
/// a small part of that.
const SILENCE: Duration = Duration::from_secs(2);

/// A session that has not answered for this long is given up and another one asked: a network can lose a connection
/// without a word. Doubles from try to try up to [`PATIENCE_MAX`], so that a Postgres that is only slow gets through.
const PATIENCE_MIN: Duration = Duration::from_secs(10);
/// Longer than any group takes on a disk that works.
const PATIENCE_MAX: Duration = Duration::from_secs(160);

/// Saves to be written in one transaction.
#[derive(Debug)]
pub(crate) struct Group {
    pub saves: Vec<Save>,
    pub oldest_open_batch: Option<Uuid>,
}

/// What became of a group.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is durable, with so many rows.
    Committed { rows: u32 },
    /// The database refused a row of it; nothing of it is there.
    Refused(store::Error),
    /// No further group can be written.
    Failed(super::Error),
}

/// Writes groups until the loop lets go of its end, then gives the lease back.
pub(crate) async fn run(
    mut writer: store::Writer,
    mut groups: UnboundedReceiver<Group>,
    inputs: UnboundedSender<Input>,
    renew_every: Duration,
    metrics: Arc<Metrics>,
    mut awake: Awake,
) {
    let mut lost = false;
    let mut sight = Sight { inputs: inputs.clone(), down: false };
    loop {
        // A Postgres that is back is found soon, also by a broker that has nothing to write.
        let look_after = if sight.down { renew_every.min(PAUSE_MAX) } else { renew_every };
        let group = match awake.wait(tokio::time::timeout(look_after, groups.recv())).await {
            Ok(Some(group)) => group,
            Ok(None) => break,
            Err(_) => {
                if !awake.wait(pin!(keep_lease(&mut writer, &mut sight, &metrics))).await {
                    lost = true;
                    break;
                }
                continue;
            }
        };
        awake.rouse();
        // Where it is: it is too large to be moved for each group.
        let verdict = awake.wait(pin!(write(&mut writer, &group, &mut sight))).await;
        lost = matches!(verdict, Verdict::Failed(_));
        if let Verdict::Committed { .. } = verdict {
            // A worker is about to get what follows from it.
            awake.rouse();
            metrics.lease_extended();
        }
        // The loop may have ended; then nobody asks any more.
        let _ = inputs.send(Input::Written(verdict));
        if lost {
            break;
        }
    }
    if lost {
        return;
    }
    match tokio::time::timeout(SILENCE, writer.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "failed to give the lease back; it ends by itself"),
        Err(_) => warn!("Postgres does not answer; the lease is not given back and ends by itself"),
    }
}

/// Whether Postgres is in sight; the loop is told of every change.
struct Sight {
    inputs: UnboundedSender<Input>,
    down: bool,
}

impl Sight {
    /// Waits for an answer of Postgres for so long, but not in silence.
    async fn of<T>(
        &mut self,
        patience: Duration,
        answer: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, store::Error> {
        let mut answer = pin!(answer);
        let answered = match tokio::time::timeout(SILENCE, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                self.lost(&"it does not answer");
                let given_up = || Err(store::Error::silent(patience));
                let rest = patience.saturating_sub(SILENCE);
                tokio::time::timeout(rest, answer).await.unwrap_or_else(|_| given_up())
            }
        };
        match &answered {
            Err(error @ store::Error::Unavailable { .. }) => self.lost(error),
            Ok(_) | Err(_) => self.found(),
        }
        answered
    }

    fn lost(&mut self, error: &dyn Display) {
        if !self.down {
            self.down = true;
            warn!(%error, "Postgres is away; what has gathered waits until it is back");
            // The loop may have ended; then nobody asks any more.
            let _ = self.inputs.send(Input::Postgres(Postgres::Down));
        }
    }

    fn found(&mut self) {
        if self.down {
            self.down = false;
            info!("Postgres is back");
            let _ = self.inputs.send(Input::Postgres(Postgres::Up));
        }
    }
}

/// Tries until the outcome of the commit is known.
async fn write(writer: &mut store::Writer, group: &Group, sight: &mut Sight) -> Verdict {
    let rows = store::Group { saves: &group.saves, oldest_open_batch: group.oldest_open_batch };
    let mut patience = PATIENCE_MIN;
    let mut outcome = sight.of(patience, pin!(writer.commit(&rows))).await;
    let mut pause = PAUSE_MIN;
    loop {
        match outcome {
            Ok(committed) => return Verdict::Committed { rows: committed.rows },
            Err(store::Error::Unavailable { .. }) => {}
            Err(error @ store::Error::Refused { .. }) => return Verdict::Refused(error),
            Err(error) => return Verdict::Failed(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        patience = (patience * 2).min(PATIENCE_MAX);
        outcome = sight.of(patience, writer.resume(&rows)).await;
    }
}

/// Renews the lease of an idle broker. `false` when it is lost.
async fn keep_lease(writer: &mut store::Writer, sight: &mut Sight, metrics: &Metrics) -> bool {
    match sight.of(PATIENCE_MIN, writer.renew()).await {
        Ok(()) => {
            metrics.lease_extended();
            true
        }
        // The next commit, or the next renewal, tries again; until the lease has run out nobody else writes.
        Err(store::Error::Unavailable { .. }) => true,
        Err(error) => {
            let _ = sight.inputs.send(Input::Written(Verdict::Failed(error.into())));
            false
        }
    }
}
