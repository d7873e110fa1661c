//! The command line: one file a subcommand. Data goes to standard output; notes, progress and errors to standard
//! error, so that output can be piped.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the command worked, its subject did not: a task ended in error or was cancelled, a health check found a problem, a template is not valid |
//! | 2 | wrong usage: unknown option, malformed argument, unreadable input file |
//! | 3 | the broker refused the command |
//! | 4 | no broker could be reached, or it did not answer in time |
//! | 5 | the configuration is not valid |
//! | 6 | time is up: the task has not ended |
//! | 7 | failed to start or to go on: Postgres, migrations, sockets |
//!
//! `tasker doctor` has codes of its own, which its help tells: 0 all is well, 1 warnings, 2 problems, 3 not all could be checked.
//!
//! A command that is ended by a signal ends like any program does (130 after Ctrl-C in a shell).

mod archive;
mod bench;
mod broker;
mod completions;
mod config;
mod context;
mod doctor;
mod examples;
mod failure;
mod health;
mod input;
mod key;
mod migrate;
mod namespace;
mod output;
mod prune;
mod reload;
mod serve;
mod service;
mod step;
mod task;
mod template;
mod time;
mod token;
mod top;
mod up;
mod worker;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{Client, Subscription};
use crate::security::{ClientKeys, PublicKey, SecretKey};
use context::{Context, Contexts};
pub use failure::{Exit, Failure};
use output::Format;

/// Where the broker is when nothing else is said; the first default of `endpoints.work`.
const DEFAULT_BROKER: &str = "tcp://127.0.0.1:7570";
/// Its events; the first default of `endpoints.events`.
const DEFAULT_EVENTS: &str = "tcp://127.0.0.1:7571";

/// `tasker`, parsed.
#[derive(Debug, Parser)]
#[command(name = "tasker", version, about = "Runs multi-step workflows: broker, client and operator's tool in one")]
#[command(max_term_width = 100, after_long_help = failure::EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every subcommand takes.
#[derive(Debug, Args)]
struct Global {
    /// How to print data: for people or for machines
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Which broker, by the name that `tasker context add` gave it. What options and variables say goes before it
    #[arg(short = 'C', long = "context", global = true, value_name = "NAME", env = "TASKER_CONTEXT")]
    context_name: Option<String>,
    /// The broker's work endpoint [default: that of the context, else tcp://127.0.0.1:7570]
    #[arg(long, global = true, value_name = "ENDPOINT", env = "TASKER_BROKER")]
    broker: Option<String>,
    /// The broker's events endpoint, for live progress [default: that of the default broker, else none]
    #[arg(long, global = true, value_name = "ENDPOINT", env = "TASKER_EVENTS")]
    events: Option<String>,
    /// The broker's public key, when it demands keys
    #[arg(long, global = true, value_name = "KEY", env = "TASKER_SERVER_KEY", allow_hyphen_values = true)]
    server_key: Option<String>,
    /// File with the secret key of this client, when the broker demands keys
    #[arg(long, global = true, value_name = "FILE", env = "TASKER_KEY_FILE")]
    key_file: Option<OsString>,
    /// Address of the broker's HTTP server, http://HOST:PORT
    #[arg(long, global = true, value_name = "URL", env = "TASKER_HTTP")]
    http: Option<String>,
    /// File with the token for the HTTP server
    #[arg(long, global = true, value_name = "FILE", env = "TASKER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for an answer of the broker, for example 500ms, 5s, 2m
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = time::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything: a private Postgres, its tables, a broker. Nothing to configure
    Up(up::Arguments),
    /// Start a broker on a Postgres that is there already
    Broker(broker::Arguments),
    /// Bring the database up to date
    Migrate(migrate::Arguments),
    /// Let old tasks and records leave, by the ages of [retention]
    Prune(prune::Arguments),
    /// Look into files of tasks that have left the database
    #[command(subcommand)]
    Archive(archive::Command),
    /// Check, register and show templates
    #[command(subcommand)]
    Template(template::Command),
    /// Submit tasks and follow them
    #[command(subcommand)]
    Task(task::Command),
    /// Act on a single step
    #[command(subcommand)]
    Step(step::Command),
    /// Look at workers, and let them leave
    #[command(subcommand)]
    Worker(worker::Command),
    /// Look at namespaces, pause and resume them
    #[command(subcommand)]
    Namespace(namespace::Command),
    /// Ask the broker how it is
    Health(health::Arguments),
    /// Watch the broker live in the terminal
    Top(top::Arguments),
    /// Look for everything that can be wrong, and say what to do
    Doctor(doctor::Arguments),
    /// Put load on a broker and measure what it takes
    Bench(Box<bench::Arguments>),
    /// Make keys for brokers, workers and clients
    #[command(subcommand)]
    Key(key::Command),
    /// Make tokens for the API and the dashboard
    #[command(subcommand)]
    Token(token::Command),
    /// Name brokers, and say which one is meant
    #[command(subcommand)]
    Context(context::Command),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

impl Command {
    /// Whether it talks to the broker that options, variables and contexts name.
    fn is_for_a_broker(&self) -> bool {
        match self {
            Command::Template(_)
            | Command::Task(_)
            | Command::Step(_)
            | Command::Worker(_)
            | Command::Namespace(_)
            | Command::Health(_)
            | Command::Top(_)
            | Command::Doctor(_)
            | Command::Bench(_) => true,
            Command::Up(_)
            | Command::Broker(_)
            | Command::Migrate(_)
            | Command::Prune(_)
            | Command::Archive(_)
            | Command::Key(_)
            | Command::Token(_)
            | Command::Context(_)
            | Command::Config(_)
            | Command::Completions(_) => false,
        }
    }
}

/// Which configuration file to read.
#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file; the defaults alone when absent
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "TASKER_CONFIG")]
    file: Option<PathBuf>,
}

impl Global {
    fn connect(&self) -> Result<Client, Failure> {
        self.connect_to(self.broker())
    }

    fn connect_to(&self, endpoint: &str) -> Result<Client, Failure> {
        Ok(Client::connect_with(endpoint, self.keys()?.as_ref(), self.timeout)?)
    }

    fn subscribe(&self) -> Result<Option<Subscription>, Failure> {
        let Some(endpoint) = self.events() else { return Ok(None) };
        Ok(Some(Subscription::connect_with(endpoint, self.keys()?.as_ref())?))
    }

    /// Where the broker is.
    fn broker(&self) -> &str {
        self.broker.as_deref().filter(|broker| !broker.is_empty()).unwrap_or(DEFAULT_BROKER)
    }

    /// Takes from the context what neither options nor variables say. Whoever names a broker does not mean the current
    /// context, whose keys and events are another broker's.
    fn complete(&mut self, contexts: &Contexts) -> Result<(), Failure> {
        let asked_for = self.context_name.as_deref().filter(|name| !name.is_empty());
        let is_broker_given = self.broker.as_deref().is_some_and(|broker| !broker.is_empty());
        let context = match (asked_for, &contexts.current) {
            (Some(name), _) => contexts.get(name)?,
            (None, Some(current)) if !is_broker_given => contexts.get(current)?,
            (None, _) => return Ok(()),
        };
        let Context { broker, events, server_key, key_file, http, token_file } = context.clone();
        if !is_broker_given {
            self.broker = broker;
        }
        self.events = self.events.take().or(events);
        self.server_key = self.server_key.take().or(server_key);
        self.key_file = self.key_file.take().or(key_file.map(PathBuf::into_os_string));
        self.http = self.http.take().or(http);
        self.token_file = self.token_file.take().or(token_file);
        Ok(())
    }

    /// The keys, if any were given. An empty variable is how a shell script says "not set".
    fn keys(&self) -> Result<Option<ClientKeys>, Failure> {
        let server = self.server_key.as_deref().filter(|key| !key.is_empty());
        let file = self.key_file.as_deref().filter(|file| !file.is_empty()).map(Path::new);
        let (server, file) = match (server, file) {
            (None, None) => return Ok(None),
            (Some(server), Some(file)) => (server, file),
            _ => return Err(Failure::usage("--server-key and --key-file belong together")),
        };
        let server: PublicKey =
            server.parse().map_err(|error| Failure::usage(format!("the value of --server-key {error}")))?;
        Ok(Some(ClientKeys { server, own: read_key(file)? }))
    }

    /// Where events are. Those of the default broker would be another broker's for every other endpoint.
    fn events(&self) -> Option<&str> {
        match &self.events {
            Some(endpoint) => Some(endpoint.as_str()).filter(|endpoint| !endpoint.is_empty()),
            None => (self.broker() == DEFAULT_BROKER).then_some(DEFAULT_EVENTS),
        }
    }
}

/// Reads a secret key that the command line names.
fn read_key(file: &Path) -> Result<SecretKey, Failure> {
    SecretKey::read(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let matches = Cli::definition().get_matches();
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // With standard error closed there is nobody to tell.
            let _ = io::stderr().write_all(failure.to_string().as_bytes());
            failure.exit.into()
        }
    }
}

impl Cli {
    /// The definition, for completions and documents.
    pub fn definition() -> clap::Command {
        examples::add(context::leave_to_submit(Cli::command()))
    }

    fn run(mut self) -> Result<Exit, Failure> {
        if self.command.is_for_a_broker() {
            self.global.complete(&Contexts::read()?)?;
        }
        let global = &self.global;
        match self.command {
            Command::Up(arguments) => arguments.run(global),
            Command::Broker(arguments) => arguments.run(global),
            Command::Migrate(arguments) => arguments.run(global),
            Command::Prune(arguments) => arguments.run(global),
            Command::Archive(command) => command.run(global),
            Command::Template(command) => command.run(global),
            Command::Task(command) => command.run(global),
            Command::Step(command) => command.run(global),
            Command::Worker(command) => command.run(global),
            Command::Namespace(command) => command.run(global),
            Command::Health(arguments) => arguments.run(global),
            Command::Top(arguments) => arguments.run(global),
            Command::Doctor(arguments) => arguments.run(global),
            Command::Bench(arguments) => arguments.run(global),
            Command::Key(command) => command.run(global),
            Command::Token(command) => command.run(global),
            Command::Context(command) => command.run(global),
            Command::Config(command) => command.run(global),
            Command::Completions(arguments) => arguments.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn the_default_endpoints_are_those_of_the_configuration() {
        let endpoints = crate::config::Config::default().endpoints;
        assert_eq!(endpoints.work, [DEFAULT_BROKER]);
        assert_eq!(endpoints.events, [DEFAULT_EVENTS]);
    }
}
