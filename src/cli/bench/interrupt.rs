//! Ctrl-C and TERM during a run: it ends in order, so that nothing of it is left behind.

use std::thread;

use tokio::sync::watch;

use super::super::serve::{broken, listen};
use super::super::{Exit, Failure};

/// What is said then.
pub(super) fn failure() -> Failure {
    Failure::new(Exit::Broken, "interrupted; there are no figures")
}

/// Whether somebody has asked for the end.
#[derive(Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Interrupt, Failure> {
        let (signals, _) = listen(true).map_err(|error| broken("listen for signals", &error))?;
        let (tell, told) = watch::channel(false);
        // It ends with the process.
        thread::spawn(move || {
            while signals.recv().is_ok() {
                tell.send_replace(true);
            }
        });
        Ok(Interrupt(told))
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when somebody asks.
    pub(super) async fn asked(mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}
