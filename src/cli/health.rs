//! `tasker health`: the broker's own report, or a probe of its HTTP server.

mod probe;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use self::probe::Question;
use super::output::or_dash;
use super::time::format_us;
use super::{Exit, Failure, Global};
use crate::protocol::{HealthCheck, HealthLevel, HealthReport, RefusalCount};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How much to look at
    #[arg(long, value_enum, default_value = "full")]
    level: Level,
    /// Ask /livez of the HTTP server alone: would a restart help?
    #[arg(long, group = "probe", conflicts_with = "level")]
    live: bool,
    /// Ask /readyz: should work come here?
    #[arg(long, group = "probe", conflicts_with = "level")]
    ready: bool,
    /// Ask /startupz: is the start over?
    #[arg(long, group = "probe", conflicts_with = "level")]
    startup: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    /// Status only
    Basic,
    /// And counts
    Detailed,
    /// And templates without a worker, and Postgres asked anew
    Full,
}

impl Arguments {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let questions = [(self.live, Question::Live), (self.ready, Question::Ready), (self.startup, Question::Startup)];
        if let Some((_, question)) = questions.into_iter().find(|(is_asked, _)| *is_asked) {
            return probe::ask(global, question);
        }
        let level = match self.level {
            Level::Basic => HealthLevel::Basic,
            Level::Detailed => HealthLevel::Detailed,
            Level::Full => HealthLevel::Full,
        };
        let report = global.connect()?.request(HealthCheck { correlation_id: Uuid::nil(), level })?;
        global.output.print(&report, || describe(&report))?;
        Ok(if report.status == "ok" { Exit::Done } else { Exit::Unsuccessful })
    }
}

fn describe(report: &HealthReport) -> String {
    let uptime = format_us(report.uptime_seconds.saturating_mul(1_000_000));
    let mut text = format!(
        "status    {}\nversion   {}\nbroker    {} (epoch {})\nuptime    {uptime}\npostgres  {}",
        report.status, report.version, report.broker_id, report.epoch, report.postgres
    );
    if let Some(round_trip_us) = report.postgres_round_trip_us {
        text.push_str(&format!(", round trip {}", format_us(round_trip_us)));
    }
    text.push('\n');
    if report.tasks.is_some() {
        text.push_str(&format!(
            "tasks     {} unfinished\nsteps     {} ready, {} in progress\nworkers   {} with {} slots\ntemplates {}\n",
            or_dash(report.tasks),
            or_dash(report.steps_ready),
            or_dash(report.steps_in_progress),
            or_dash(report.workers),
            or_dash(report.slots),
            or_dash(report.templates),
        ));
    }
    if report.connections.is_some() {
        text.push_str(&format!(
            "peers     {} connections, {} cut, {} without a handshake\n",
            or_dash(report.connections),
            or_dash(report.connections_cut),
            or_dash(report.handshakes_failed),
        ));
    }
    for RefusalCount { code, count } in &report.refusals {
        text.push_str(&format!("refused   {count} as {code}\n"));
    }
    for problem in &report.problems {
        text.push_str(&format!("problem   {problem}\n"));
    }
    for template in &report.templates_without_worker {
        text.push_str(&format!("waiting   {template} has work and no worker\n"));
    }
    text
}
