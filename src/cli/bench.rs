//! `tasker bench`: what this broker on this machine can do.

mod interrupt;
mod limit;
mod polled;
mod private;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure, Global, template, time};
use crate::bench::{self, ComparisonOptions, Options, Pace, Progress, Report, Shape, ShapeError, Target, Work};
use interrupt::Interrupt;
use private::PrivateBroker;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the rows of a run without a broker: what Postgres alone takes
    Limit(limit::Arguments),
}

#[derive(Debug, Args)]
struct Run {
    /// Start a broker with a private Postgres for the time of the run, in a folder that is removed afterwards
    #[arg(long)]
    start: bool,
    /// Runs, of which the median by steps a second is reported; with --with-pollers, rounds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Then write the same rows in groups of the same sizes without a broker, and tell the ratio
    #[arg(long)]
    with_limit: bool,
    /// Tell what it costs to be looked at: passes without and with N clients of each kind that poll over HTTP (pages, streams of
    /// events, /metrics, the API), in turn, at full load and with one task at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=POLLERS_MAX))]
    #[arg(conflicts_with_all = ["with_limit", "open_loop"])]
    with_pollers: Option<u16>,
    /// The broker's database, for WAL, the CPU time of Postgres and the times of steps [default: that of --start]
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, conflicts_with = "start")]
    database: Option<String>,
    /// Graph of each task: single, chain:N, diamond, fan-out:N, dag:N or dag:N:SEED
    #[arg(long, default_value = "chain:4", conflicts_with = "template")]
    shape: Shape,
    /// A template of one's own instead of a shape
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Tasks that are measured
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    tasks: u64,
    /// Tasks before those, which are not measured
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    warm_up: u64,
    /// Most unfinished tasks at a time: one that ends makes room for the next
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: u64,
    /// Submit at a fixed rate, whatever the broker does; a task counts from when it was due
    #[arg(long, requires = "rate", conflicts_with = "in_flight")]
    open_loop: bool,
    /// Tasks a second, with --open-loop
    #[arg(long, value_name = "N", requires = "open_loop", value_parser = positive)]
    rate: Option<f64>,
    /// Connections that submit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    submitters: u16,
    /// Most tasks in a message
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tasks_per_message: u16,
    /// Bytes of each task's context
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    context_bytes: usize,
    /// Who runs the steps
    #[arg(long, value_enum, default_value = "native")]
    worker: Worker,
    /// Native workers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    workers: u16,
    /// Steps at once in each native worker
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// How long a native worker takes for a step
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = time::parse_duration)]
    work: Duration,
    /// Bytes of each result of a native worker
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    result_bytes: usize,
}

/// Each has seven connections, and a broker takes 256 by default.
const POLLERS_MAX: i64 = 30;

/// Who runs the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Worker {
    /// Threads of this process that do nothing with them
    Native,
    /// The workers that are registered already
    None,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e7 => Ok(number),
        _ => Err("expected a number above 0, at most ten million".to_owned()),
    }
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command {
            Some(Command::Limit(arguments)) => arguments.run(global),
            None => self.run.run(global),
        }
    }
}

impl Run {
    fn run(self, global: &Global) -> Result<Exit, Failure> {
        let shape = self.shape()?;
        let interrupt = Interrupt::listen()?;
        let private = if self.start { Some(PrivateBroker::start(&interrupt)?) } else { None };
        let target = match &private {
            Some(broker) => broker.target(global.timeout),
            None => self.target(global)?,
        };
        let options = self.options(target, shape);
        if let Some(pollers) = self.with_pollers {
            let site = polled::site(global, private.as_ref())?;
            let comparison = polled::compare(
                ComparisonOptions { full: options, site, pollers: pollers.into(), rounds: self.runs },
                &interrupt,
            );
            return polled::print(global, &comparison.map_err(|failure| with_log(failure, private.as_ref()))?);
        }
        let mut reports = Vec::new();
        for _ in 0..self.runs {
            let report = self.measure(&options, &interrupt);
            reports.push(report.map_err(|failure| with_log(failure, private.as_ref()))?);
        }
        let report = median(reports);
        global.output.print(&report, || table::render(&report))?;
        Ok(if report.tasks_failed == 0 { Exit::Done } else { Exit::Unsuccessful })
    }

    /// One run, and its limit.
    fn measure(&self, options: &Options, interrupt: &Interrupt) -> Result<Report, Failure> {
        let url = options.target.database_url.as_deref();
        if self.with_limit && url.is_none() {
            let message = "--with-limit writes to the broker's server, and --database does not say where that is";
            return Err(Failure::usage(message));
        }
        let bar = progress();
        let report = bench::run(options, |progress| {
            show(&bar, progress);
            !interrupt.is_asked()
        });
        bar.finish_and_clear();
        let mut report = report?;
        if let Some(url) = url.filter(|_| self.with_limit) {
            report.measure_limit(options, url, interrupt.clone().asked())?;
        }
        Ok(report)
    }

    fn shape(&self) -> Result<Shape, Failure> {
        let mut templates = template::read(self.template.as_slice())?;
        let own = templates.pop().map(|(yaml, source)| Shape::Template { source, yaml });
        Ok(own.unwrap_or_else(|| self.shape.clone()))
    }

    fn target(&self, global: &Global) -> Result<Target, Failure> {
        let events = global.events().ok_or_else(|| {
            Failure::usage("the end of tasks is heard at the events endpoint, and none is known")
                .with_hint("--events or TASKER_EVENTS says where; `--start` brings a broker of its own")
        })?;
        Ok(Target {
            work: global.broker().to_owned(),
            events: events.to_owned(),
            keys: global.keys()?,
            timeout: global.timeout,
            database_url: self.database.clone(),
        })
    }

    fn options(&self, target: Target, shape: Shape) -> Options {
        let work = (self.worker == Worker::Native).then_some(Work {
            workers: self.workers.into(),
            concurrency: self.concurrency,
            duration: self.work,
            result_bytes: self.result_bytes,
        });
        Options {
            target,
            shape,
            tasks: self.tasks,
            warm_up: self.warm_up,
            pace: self.rate.map_or(Pace::InFlight(self.in_flight), Pace::Rate),
            submitters: self.submitters.into(),
            tasks_per_message: self.tasks_per_message.into(),
            context_bytes: self.context_bytes,
            work,
        }
    }
}

/// The run in the middle by steps a second, with the figures of all in the order in which they were.
fn median(mut reports: Vec<Report>) -> Report {
    let runs = reports.iter().map(|report| report.steps_per_second).collect();
    reports.sort_by(|one, other| one.steps_per_second.total_cmp(&other.steps_per_second));
    let median = reports.len().saturating_sub(1) / 2;
    Report { runs_steps_per_second: runs, ..reports.swap_remove(median) }
}

/// A failure with what the private broker has said, when there is one.
fn with_log(failure: Failure, private: Option<&PrivateBroker>) -> Failure {
    match private.map(PrivateBroker::last_words).filter(|words| !words.is_empty()) {
        Some(words) => failure.with_hint(format!("the broker said:\n{words}")),
        None => failure,
    }
}

/// On standard error, and only when that is a terminal.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tasks  {per_sec}  {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.tasks);
    bar.set_position(progress.ended);
    bar.set_message(format!("{} in the air", progress.submitted.saturating_sub(progress.ended)));
}

impl From<bench::Error> for Failure {
    fn from(error: bench::Error) -> Failure {
        match error {
            bench::Error::Client(error) => error.into(),
            bench::Error::Store(error) => error.into(),
            bench::Error::Task(_) | bench::Error::Worker(_) | bench::Error::Poll(_) => {
                Failure::new(Exit::Refused, error.to_string())
            }
            bench::Error::Interrupted => interrupt::failure(),
            bench::Error::Stalled { .. } => Failure::new(Exit::TimeIsUp, error.to_string()),
            bench::Error::Socket(_) | bench::Error::System(_) => Failure::new(Exit::Broken, error.to_string()),
        }
    }
}

impl From<ShapeError> for Failure {
    fn from(error: ShapeError) -> Failure {
        Failure::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_the_one_in_the_middle_is_told() {
        let reports = [5.0, 1.0, 3.0].map(|steps_per_second| Report { steps_per_second, ..Report::default() });
        let report = median(reports.into());
        assert_eq!((report.steps_per_second, report.runs_steps_per_second), (3.0, vec![5.0, 1.0, 3.0]));
    }
}
