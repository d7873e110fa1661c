//! `tasker broker`: the broker in production, on a Postgres that is there already.

use std::time::Duration;

use clap::Args;

use super::migrate::{block_on, database_url};
use super::reload::Reload;
use super::serve::{Announcement, Front, Running, serve};
use super::{ConfigFile, Exit, Failure, Global};
use crate::config::Config;
use crate::server::{Broker, Options};
use crate::{store, telemetry};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Bring the database up to date first; otherwise one that is behind is refused
    #[arg(long)]
    migrate: bool,
    #[command(flatten)]
    announcement: Announcement,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let file = self.config.file.as_deref();
        let config = Config::from_process(file)?;
        let url = database_url(&config, file)?.to_owned();
        // Before the database is touched, so that what is wrong here costs nothing. The start reads it again.
        config.secret_key()?;
        telemetry::start(&config.log)?;
        let front = Front::open(&config)?;
        let handle = front.handle.clone();
        let reload = Reload::of(self.config.file.clone());
        let start = move || {
            if self.migrate {
                block_on(store::migrate(&url))??;
            } else {
                refuse_a_database_that_is_behind(&url)?;
            }
            let database = config.database.url.clone();
            let shutdown_timeout = Duration::from_secs(config.broker.shutdown_timeout_seconds);
            let broker = Broker::start_with(Options { config, database_url: url }, handle)?;
            Ok(Running { broker, shutdown_timeout, postgres: None, database })
        };
        serve(global, &self.announcement, Some(&reload), &front, start, |_| Ok(()))
    }
}

fn refuse_a_database_that_is_behind(url: &str) -> Result<(), Failure> {
    let missing = block_on(store::missing_migrations(url))??;
    if missing.is_empty() {
        return Ok(());
    }
    let versions: Vec<String> = missing.iter().map(i64::to_string).collect();
    Err(Failure::new(Exit::Broken, format!("the database lacks the migrations {}", versions.join(", ")))
        .with_hint("run `tasker migrate`, or start with --migrate"))
}
