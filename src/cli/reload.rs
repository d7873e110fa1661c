//! HUP: the list of peers and the tokens are read again while the broker runs. Nothing else of the configuration is.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::Receiver;
use tracing::{error, info, warn};

use super::service;
use crate::config::Config;
use crate::security::{Access, Tokens};

/// Where to read.
pub(super) struct Reload {
    file: Option<PathBuf>,
}

impl Reload {
    pub(super) fn of(file: Option<PathBuf>) -> Reload {
        Reload { file }
    }

    /// Reads the lists anew at each hangup, for as long as the process runs.
    pub(super) fn on(&self, hangups: Receiver<()>, access: Option<Access>, tokens: Option<Tokens>) -> io::Result<()> {
        let file = self.file.clone();
        let work = move || {
            for () in hangups {
                service::reloading(|| reload(file.as_ref(), access.as_ref(), tokens.as_ref()));
            }
        };
        thread::Builder::new().name("reload".to_owned()).spawn(work).map(drop)
    }
}

fn reload(file: Option<&PathBuf>, access: Option<&Access>, tokens: Option<&Tokens>) {
    if access.is_none() && tokens.is_none() {
        warn!(
            "HUP reloads the list of peers and the tokens; there are none: security.curve is false, http.token_file empty"
        );
        return;
    }
    let config = match Config::from_process(file.map(PathBuf::as_path)) {
        Ok(config) => config,
        Err(error) => {
            error!(%error, "failed to read the list of peers again, and the tokens; those before stay in force");
            return;
        }
    };
    if let Some(access) = access {
        let changes = access.replace(&config.security.peers);
        let (added, removed, changed) = (changes.added, changes.removed, changes.changed);
        info!(?added, ?removed, ?changed, "the list of peers was read again");
    }
    if let Some(tokens) = tokens {
        let file = &config.http.token_file;
        match tokens.read_again(Path::new(file)) {
            Ok(count) => info!(file, count, "the tokens were read again"),
            Err(error) => error!(file, %error, "failed to read the tokens again; those before stay in force"),
        }
    }
}
