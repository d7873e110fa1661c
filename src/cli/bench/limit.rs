//! `tasker bench limit`: what Postgres alone takes for the rows of a broker's run.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;

use super::super::{Exit, Failure, Global, time};
use super::interrupt::{self, Interrupt};
use super::private::PrivateBroker;
use super::table;
use crate::bench::limit::{self, GroupSize, LimitOptions};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Start a private Postgres for the time of the measurement, in a folder that is removed afterwards
    #[arg(long)]
    start: bool,
    /// A database of the server to measure, whose role may make another database: everything is written to that one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    #[arg(conflicts_with = "start", required_unless_present = "start")]
    database: Option<String>,
    /// Steps that end in each commit group; may be repeated, for groups of several sizes in turn
    #[arg(long = "group", value_name = "STEPS", default_value = "1000")]
    groups: Vec<NonZeroU32>,
    /// Steps to write
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Steps of each task
    #[arg(long, value_name = "N", default_value = "4")]
    steps_per_task: NonZeroU32,
    /// Steps of each batch
    #[arg(long, value_name = "N", default_value = "100")]
    batch_steps: NonZeroU32,
    /// Tasks of each submission
    #[arg(long, value_name = "N", default_value = "100")]
    tasks_per_message: NonZeroU32,
    /// Bytes of each task's context
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    context_bytes: usize,
    /// Bytes of each result
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    result_bytes: usize,
    /// Begin no new tasks after this time
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time::parse_duration)]
    time_max: Duration,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let interrupt = Interrupt::listen()?;
        let private = if self.start { Some(PrivateBroker::start(&interrupt)?) } else { None };
        let own = private.as_ref().and_then(|broker| broker.target(global.timeout).database_url);
        let options = LimitOptions {
            url: own.or(self.database).unwrap_or_default(),
            steps_per_task: self.steps_per_task,
            context_bytes: self.context_bytes,
            result_bytes: self.result_bytes,
            batch_steps: self.batch_steps,
            tasks_per_command: self.tasks_per_message,
            groups: self.groups.into_iter().map(|steps| (GroupSize::Steps(steps), 1)).collect(),
            steps: self.steps,
            time_max: self.time_max,
        };
        let report = limit::measure(&options, interrupt.asked())?;
        global.output.print(&report, || table::render_limit(&report))?;
        Ok(Exit::Done)
    }
}

impl From<limit::Error> for Failure {
    fn from(error: limit::Error) -> Failure {
        match error {
            limit::Error::Store(error) => error.into(),
            limit::Error::Template(_) | limit::Error::NoGroups => Failure::usage(error.to_string()),
            limit::Error::Runtime(_) => Failure::new(Exit::Broken, error.to_string()),
            limit::Error::Stopped => interrupt::failure(),
        }
    }
}
