//! Tells a service manager such as systemd how the broker is (`sd_notify`). Without one, nothing is said.
//!
//! A standby is ready: it does what it is there for, and whoever starts it need not wait until the other broker is gone. The
//! status line says which of the two it is. The sign of life is the event loop's own answer, and of a standby, each of its
//! looks at the lease.

use std::io;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, warn};

use super::migrate::block_on;
use crate::server::{Handle, Stage};

/// How long a recovery may take (`store::recover` has the same limit): a broker that takes over gives no sign meanwhile.
const RECOVERY: Duration = Duration::from_secs(600);

/// Between two questions while the loop does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Tells how far the broker is, and that it lives, for as long as it does.
pub(super) fn watch(handle: Handle) -> io::Result<()> {
    let period = sd_notify::watchdog_enabled();
    let work = move || {
        if let Err(failure) = block_on(follow(&handle, period)) {
            warn!(%failure, "the service manager will not hear how the broker is");
        }
    };
    thread::Builder::new().name("service".to_owned()).spawn(work).map(drop)
}

async fn follow(handle: &Handle, period: Option<Duration>) {
    let mut stages = handle.stages();
    loop {
        let stage = *stages.borrow_and_update();
        match stage {
            Stage::Starting => {
                let status = NotifyState::Status("starting: reads what is unfinished");
                tell(&[Some(status), period.and_then(|_| watchdog(RECOVERY))]);
            }
            Stage::Standby => {
                let status = NotifyState::Status("standby: another broker has the lane");
                tell(&[Some(NotifyState::Ready), Some(status), period.map(|_| NotifyState::Watchdog)]);
            }
            Stage::Ready => {
                let status = NotifyState::Status("ready: takes and hands out work");
                tell(&[Some(NotifyState::Ready), Some(status), period.and_then(watchdog)]);
            }
            // Who asks it to drain has said so.
            Stage::Draining => {}
            Stage::Stopped => return,
        }
        let lives = async {
            match (stage, period) {
                (Stage::Ready | Stage::Draining, Some(period)) => give_signs(handle, period).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = stages.changed() => if changed.is_err() { return },
            () = lives => {}
        }
    }
}

/// Passes the loop's answers on, two in each period. Never returns.
async fn give_signs(handle: &Handle, period: Duration) {
    loop {
        if handle.turns(period / 2).await {
            tell(&[Some(NotifyState::Watchdog)]);
            tokio::time::sleep(period / 2).await;
        } else {
            warn!(seconds = (period / 2).as_secs_f32(), "the event loop does not answer");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// How long the service manager waits for a sign from now on.
fn watchdog(period: Duration) -> Option<NotifyState<'static>> {
    Some(NotifyState::WatchdogUsec(u32::try_from(period.as_micros()).unwrap_or(u32::MAX)))
}

/// Tells that the configuration is read again, and then that this is done.
pub(super) fn reloading(reload: impl FnOnce()) {
    tell(&[Some(NotifyState::Reloading), NotifyState::monotonic_usec_now().ok()]);
    reload();
    tell(&[Some(NotifyState::Ready)]);
}

/// Tells that the broker drains and ends.
pub(super) fn stops() {
    tell(&[Some(NotifyState::Stopping), Some(NotifyState::Status("draining: waits for what workers run"))]);
}

fn tell(states: &[Option<NotifyState<'_>>]) {
    let states: Vec<NotifyState<'_>> = states.iter().flatten().cloned().collect();
    if let Err(error) = sd_notify::notify(&states) {
        debug!(%error, "the service manager cannot be told");
    }
}
