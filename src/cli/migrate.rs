//! `tasker migrate`

use std::future::Future;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::output::note;
use super::serve::broken;
use super::{ConfigFile, Exit, Failure, Global};
use crate::config::Config;
use crate::store;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

impl Arguments {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let file = self.config.file.as_deref();
        let config = Config::from_process(file)?;
        let report = block_on(store::migrate(database_url(&config, file)?))??;
        let (applied, version, partitions) = (report.applied, report.version, report.partitions);
        let document = json!({ "applied": applied, "version": version, "partitions": partitions });
        global.output.print_for_programs(&document)?;
        note(&match report.applied {
            0 => format!("the database is up to date, at version {}", report.version),
            applied => format!("migrations applied: {applied}; the database is at version {}", report.version),
        });
        Ok(Exit::Done)
    }
}

/// The configured database.
pub(super) fn database_url<'a>(config: &'a Config, file: Option<&Path>) -> Result<&'a str, Failure> {
    config.database.url.reveal().ok_or_else(|| {
        let origin = file.map_or_else(|| "default".to_owned(), |file| file.display().to_string());
        Failure::new(Exit::Configuration, format!("{origin}: database.url: no database is given"))
            .with_hint("set DATABASE_URL, or use `tasker up`, which brings its own Postgres")
    })
}

/// Waits for work with the database that comes before the broker's own runtime.
pub(super) fn block_on<F: Future>(work: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| broken("start a runtime", &error))?.block_on(work))
}
