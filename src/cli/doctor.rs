//! `tasker doctor`: looks at everything that can be wrong, names it, and says what to do. It changes nothing, apart from
//! `--worker-round-trip`.

mod broker;
mod bundle;
mod database;
mod finding;
mod machine;
mod ports;
mod round_trip;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use self::broker::Answers;
use self::database::Patience;
use self::finding::Findings;
use super::migrate::block_on;
use super::output::note;
use super::serve::broken;
use super::time::parse_duration;
use super::{ConfigFile, Exit, Failure, Global};
use crate::config::{Config, DatabaseUrl};
use crate::postgres;
use crate::store::{self, Diagnosis};

/// The exit codes, which are not those of the other commands.
pub(super) const EXIT_CODES: &str = "\
Exit codes of this command:
  0  all is well
  1  warnings: it works, and will not for ever
  2  problems: something does not work or is not safe
  3  something could not be checked, and nothing that could is a problem
Wrong usage of the command ends with 2 as well, and says so.";

#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Let a task of one step go through, with this process as its worker. A template `tasker-doctor/round-trip` and an ended
    /// task stay; nothing that runs
    #[arg(long)]
    worker_round_trip: bool,
    /// Write a file for support: findings, versions, configuration without secrets, health, workers, refusals, sizes; no payloads
    #[arg(long, value_name = "FILE.tar.gz")]
    bundle: Option<PathBuf>,
    /// A transaction that is open for longer is a warning
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    long_transaction: Duration,
    /// A request that waits in the inbox for longer is a warning
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    inbox_age: Duration,
}

/// All that was found, and what it was found by.
#[derive(Default)]
struct Examined {
    findings: Findings,
    answers: Answers,
    diagnosis: Option<Result<Diagnosis, store::Error>>,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let examined = self.examine(global)?;
        if let Some(path) = &self.bundle {
            let written = bundle::write(path, self.config.file.as_deref(), &examined);
            written.map_err(|error| broken(&format!("write {}", path.display()), &error))?;
            note(&format!("the bundle is in {}", path.display()));
        }
        let findings = &examined.findings;
        let document = json!({ "result": findings.worst(), "findings": findings.0 });
        global.output.print_list(&document, &findings.0, || findings.render())?;
        Ok(findings.worst().exit())
    }

    fn examine(&self, global: &Global) -> Result<Examined, Failure> {
        let mut examined = Examined::default();
        let findings = &mut examined.findings;
        let config = configuration(findings, self.config.file.as_deref());
        machine::zeromq(findings);
        machine::disk(findings, Path::new(&config.postgres.data));
        machine::keys(findings, &config, global);
        machine::ports(findings, &config);
        match database_url(&config) {
            None => {
                let advice =
                    "set DATABASE_URL or database.url; that of a running `tasker up` is found by postgres.data";
                findings.unknown("database", "no database is given", advice);
            }
            Some(url) => {
                let shown = DatabaseUrl::new(&url).to_string();
                let diagnosis = block_on(store::diagnose(&url))?;
                let patience = Patience { transaction: self.long_transaction, inbox: self.inbox_age };
                match &diagnosis {
                    Ok(diagnosis) => database::check(findings, diagnosis, &shown, patience),
                    Err(error) => database::unreachable(findings, &shown, error),
                }
                examined.diagnosis = Some(diagnosis);
            }
        }
        let lanes = examined.diagnosis.as_ref().and_then(|found| found.as_ref().ok()?.lanes.as_ref().ok());
        machine::descriptors(findings, &config, lanes.and_then(|lanes| machine::broker_here(lanes)));
        let endpoint = endpoint(&config, global);
        examined.answers = broker::check(findings, &config, global, &endpoint);
        if self.worker_round_trip && examined.answers.health.is_some() {
            broker::round_trip(findings, global, &endpoint);
        }
        Ok(examined)
    }
}

/// The configuration in force; when it is not valid, the defaults stand in for it where it was to be compared with.
fn configuration(findings: &mut Findings, file: Option<&Path>) -> Config {
    let name = file.map_or_else(|| "the defaults and the environment".to_owned(), |file| file.display().to_string());
    match Config::from_process(file) {
        Ok(config) => {
            findings.ok("configuration", format!("{name}: valid"));
            config
        }
        Err(error) => {
            let advice = "config/default.toml documents every option; what follows was checked with the defaults";
            findings.problem("configuration", error.to_string(), advice);
            let mut config = Config::default();
            if let Ok(url) = std::env::var("DATABASE_URL") {
                config.database.url = DatabaseUrl::new(url);
            }
            config
        }
    }
}

/// The configured database, else that of a `tasker up` that runs on the configured folder.
fn database_url(config: &Config) -> Option<String> {
    if let Some(url) = config.database.url.reveal() {
        return Some(url.to_owned());
    }
    let server = postgres::Server::running(Path::new(&config.postgres.data)).ok()??;
    Some(server.url(super::up::DATABASE))
}

/// Where to ask: what was given, else the first endpoint of the configuration, at this machine when it is bound to all.
fn endpoint(config: &Config, global: &Global) -> String {
    match (&global.broker, config.endpoints.work.first()) {
        (None, Some(endpoint)) => endpoint
            .replace("//0.0.0.0:", "//127.0.0.1:")
            .replace("//*:", "//127.0.0.1:")
            .replace("//[::]:", "//[::1]:"),
        _ => global.broker().to_owned(),
    }
}
