//! HUP: the list of peers is read again while the broker runs. Nothing else of the configuration is.

use std::io;
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::Receiver;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::security::Access;

/// Where to read.
pub(super) struct Reload {
    file: Option<PathBuf>,
}

impl Reload {
    pub(super) fn of(file: Option<PathBuf>) -> Reload {
        Reload { file }
    }

    /// Reads the list anew at each hangup, for as long as the process runs.
    pub(super) fn on(&self, hangups: Receiver<()>, access: Option<Access>) -> io::Result<()> {
        let file = self.file.clone();
        let work = move || {
            for () in hangups {
                reload(file.as_ref(), access.as_ref());
            }
        };
        thread::Builder::new().name("reload".to_owned()).spawn(work).map(drop)
    }
}

fn reload(file: Option<&PathBuf>, access: Option<&Access>) {
    let Some(access) = access else {
        warn!("HUP reloads the list of peers, and there is none: security.curve is false");
        return;
    };
    match Config::from_process(file.map(PathBuf::as_path)) {
        Ok(config) => {
            let changes = access.replace(&config.security.peers);
            let (added, removed, changed) = (changes.added, changes.removed, changes.changed);
            info!(?added, ?removed, ?changed, "the list of peers was read again");
        }
        Err(error) => error!(%error, "failed to read the list of peers again; the one before stays in force"),
    }
}
