//! A handle on a broker for those who show it to people: how far it is, and the way in. It is there before the broker is,
//! because a standby is asked how it is, too.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::event_loop::Input;
use super::metrics::Observer;
use crate::gateway::Desk;

/// How far a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Connects to Postgres, takes up what was unfinished, binds its sockets.
    Starting,
    /// Another broker has the lane.
    Standby,
    /// Takes and hands out work.
    Ready,
    /// Takes no new work; waits for what workers report.
    Draining,
    /// Is no more.
    Stopped,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 5] = [Stage::Starting, Stage::Standby, Stage::Ready, Stage::Draining, Stage::Stopped];

    /// The name, in answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::Standby => "standby",
            Stage::Ready => "ready",
            Stage::Draining => "draining",
            Stage::Stopped => "stopped",
        }
    }
}

/// Looks at one broker, and asks it. Clones look at the same one.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    stage: watch::Sender<Stage>,
    inside: OnceLock<Inside>,
}

/// What a broker that is ready gives to those who ask from inside of its process.
pub struct Inside {
    /// Takes the commands of clients.
    pub desk: Desk,
    /// Reads what is counted.
    pub observer: Observer,
    /// The broker process.
    pub broker_id: Uuid,
    /// The lease epoch.
    pub epoch: i64,
    /// Where Postgres is. Holds a password: not to be shown.
    pub database_url: String,
    pub(super) inputs: UnboundedSender<Input>,
}

impl Default for Handle {
    fn default() -> Handle {
        Handle(Arc::new(Shared { stage: watch::Sender::new(Stage::Starting), inside: OnceLock::new() }))
    }
}

impl Handle {
    /// How far the broker is now.
    pub fn stage(&self) -> Stage {
        *self.0.stage.borrow()
    }

    /// Hears of each change of the stage.
    pub fn stages(&self) -> watch::Receiver<Stage> {
        self.0.stage.subscribe()
    }

    /// The way in, once the broker has been ready.
    pub fn inside(&self) -> Option<&Inside> {
        self.0.inside.get()
    }

    /// Whether the event loop turns: it answers within `limit`, or there is none yet that could.
    pub async fn turns(&self, limit: Duration) -> bool {
        let Some(inside) = self.inside() else { return true };
        let (tell, turned) = oneshot::channel();
        if inside.inputs.send(Input::Turn(tell)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(limit, turned).await, Ok(Ok(())))
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.0.stage.send_replace(stage);
    }

    /// The broker is ready.
    pub(super) fn open(&self, inside: Inside) {
        // A handle is for one broker; of a second one nobody would know which is meant.
        assert!(self.0.inside.set(inside).is_ok(), "a handle was given to two brokers");
        self.set_stage(Stage::Ready);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Handle").field(&self.stage()).finish()
    }
}
