//! `tasker up`: everything in one command, with nothing to configure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tracing::info;

use super::migrate::block_on;
use super::reload::Reload;
use super::serve::{Announcement, Front, Running, serve};
use super::{ConfigFile, Exit, Failure, Global, template};
use crate::config::{Config, DatabaseUrl};
use crate::server::{Broker, Handle, Options};
use crate::{postgres, store, telemetry};

/// The database in the private Postgres.
pub(super) const DATABASE: &str = "tasker";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Folder for the data of the private Postgres, made when missing [default: postgres.data of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of the work endpoint; events are at the next one, and HTTP at the one after. 0 takes free ones
    #[arg(long, conflicts_with_all = ["work_endpoints", "events_endpoints"])]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=65533))]
    port: Option<u16>,
    /// Where workers and clients connect; may be repeated
    #[arg(long = "work-endpoint", value_name = "ENDPOINT")]
    work_endpoints: Vec<String>,
    /// Where events are published; may be repeated
    #[arg(long = "events-endpoint", value_name = "ENDPOINT")]
    events_endpoints: Vec<String>,
    /// Folder with `initdb` and `postgres` [default: searched for]
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// System user that runs Postgres when tasker was started by root
    #[arg(long, value_name = "USER")]
    postgres_user: Option<String>,
    /// Register this template when started; may be repeated
    #[arg(long = "template", value_name = "FILE")]
    templates: Vec<PathBuf>,
    #[command(flatten)]
    announcement: Announcement,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let mut config = Config::from_process(self.config.file.as_deref())?;
        self.change_endpoints(&mut config)?;
        // Read before anything is started, so that a wrong name costs no time.
        let templates = template::read(&self.templates)?;
        let given = |option: Option<PathBuf>, setting: &str| {
            option.or_else(|| (!setting.is_empty()).then(|| PathBuf::from(setting)))
        };
        let options = postgres::Options {
            data: self.data.unwrap_or_else(|| PathBuf::from(&config.postgres.data)),
            bin: given(self.postgres_bin, &config.postgres.bin),
            user: self.postgres_user.or_else(|| Some(config.postgres.user.clone()).filter(|user| !user.is_empty())),
        };
        config.secret_key()?;
        telemetry::start(&config.log)?;
        let register = |broker: &Broker| {
            let Some(endpoint) = broker.endpoints().work.first() else { return Ok(()) };
            if templates.is_empty() {
                return Ok(());
            }
            let mut client = global.connect_to(endpoint)?;
            for registered in template::register(&mut client, templates) {
                let registered = registered?;
                info!(template = registered.template, created = registered.created, "registered");
            }
            Ok(())
        };
        let front = Front::open(&config)?;
        let handle = front.handle.clone();
        let has_lists = config.security.curve || !config.http.token_file.is_empty();
        let reload = has_lists.then(|| Reload::of(self.config.file));
        serve(global, &self.announcement, reload.as_ref(), &front, move || start(config, &options, handle), register)
    }

    fn change_endpoints(&self, config: &mut Config) -> Result<(), Failure> {
        let endpoints = &mut config.endpoints;
        if let Some(port) = self.port {
            let next = if port == 0 { 0 } else { port + 1 };
            endpoints.work = vec![format!("tcp://127.0.0.1:{port}")];
            endpoints.events = vec![format!("tcp://127.0.0.1:{next}")];
            if !config.http.listen.is_empty() {
                config.http.listen = format!("127.0.0.1:{}", if port == 0 { 0 } else { port + 2 });
            }
        }
        if !self.work_endpoints.is_empty() {
            endpoints.work.clone_from(&self.work_endpoints);
        }
        if !self.events_endpoints.is_empty() {
            endpoints.events.clone_from(&self.events_endpoints);
        }
        Ok(config.check("the command line")?)
    }
}

fn start(config: Config, options: &postgres::Options, handle: Handle) -> Result<Running, Failure> {
    info!(data = %options.data.display(), "starting Postgres");
    let postgres = postgres::Server::start(options)?;
    let database_url = block_on(postgres.database(DATABASE))??;
    let report = block_on(store::migrate(&database_url))??;
    info!(applied = report.applied, version = report.version, "the database is up to date");
    let database = DatabaseUrl::new(&database_url);
    let shutdown_timeout = Duration::from_secs(config.broker.shutdown_timeout_seconds);
    let broker = Broker::start_with(Options { config, database_url }, handle)?;
    Ok(Running { broker, shutdown_timeout, postgres: Some(postgres), database })
}
