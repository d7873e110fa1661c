//! `tasker prune`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::migrate::{block_on, database_url};
use super::output::{Table, note, or_dash};
use super::{ConfigFile, Exit, Failure, Global};
use crate::config::Config;
use crate::store::retention::{Error, Report, Task, prune};

/// A century, as for the settings.
const DAYS_MAX: u32 = 36_500;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Only say what would leave: tables, rows, bytes, tasks by state
    #[arg(long)]
    dry_run: bool,
    /// Ended tasks of every state leave after so many days, whatever [retention] says; for example 90d
    #[arg(long, value_name = "DAYS", value_parser = parse_days)]
    older_than: Option<u32>,
    /// Write tasks to files in this folder before they leave [default: retention.archive_dir]
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let file = self.config.file.as_deref();
        let config = Config::from_process(file)?;
        let url = database_url(&config, file)?;
        let mut task = Task::from(&config.retention);
        task.dry_run = self.dry_run;
        task.archive = self.archive.clone().or(task.archive);
        if let Some(days) = self.older_than {
            let kept = &mut task.days;
            (kept.complete, kept.cancelled, kept.resolved, kept.error) = (days, days, days, days);
        }
        if task.days.keep_everything() {
            note("nothing leaves: [retention] keeps everything for ever, and --older-than is not given");
        }
        let report = block_on(prune(url, &task))??;
        global.output.print(&report, || text(&report))?;
        let verb = if self.dry_run { "would leave" } else { "left" };
        note(&format!("{verb}: {}", summary(&report)));
        if let Some(reason) = &report.stopped {
            note(&format!("stopped before the end: {reason}; run it again later"));
            return Ok(Exit::Unsuccessful);
        }
        Ok(Exit::Done)
    }
}

fn text(report: &Report) -> String {
    if report.is_empty() {
        return String::new();
    }
    let mut tables = Table::new(&["PARTITION", "ROWS", "CARRIED OVER", "BYTES", "ARCHIVE"]);
    for month in &report.months {
        for table in &month.tables {
            tables.row([
                table.partition.clone(),
                table.rows_left.to_string(),
                table.rows_kept.to_string(),
                table.bytes_before.to_string(),
                or_dash(month.archive.clone().filter(|_| table.partition.starts_with("tasks"))),
            ]);
        }
    }
    for records in &report.records {
        let (rows, bytes) = (records.rows_left.to_string(), records.bytes_before.to_string());
        tables.row([records.partition.clone(), rows, "0".to_owned(), bytes, "-".to_owned()]);
    }
    let mut states = Table::new(&["MONTH", "TASKS", "CARRIED OVER"]);
    for month in &report.months {
        states.row([month.month.clone(), counts(&month.tasks_left), counts(&month.tasks_kept)]);
    }
    format!("{}\n{}", states.render(), tables.render())
}

fn counts(states: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }
}

fn summary(report: &Report) -> String {
    let tasks: u64 = report.months.iter().flat_map(|month| month.tasks_left.values()).sum();
    let rows: u64 = report.months.iter().flat_map(|month| &month.tables).map(|table| table.rows_left).sum();
    let records: u64 = report.records.iter().map(|records| records.rows_left).sum();
    let keys = report.idempotency_keys;
    format!("{tasks} tasks ({rows} rows), {records} rows of records, {keys} idempotency keys")
}

fn parse_days(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('d').unwrap_or(text);
    match number.parse() {
        Ok(days @ 1..=DAYS_MAX) => Ok(days),
        _ => Err(format!("expected days, 1d to {DAYS_MAX}d")),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Store(error) => error.into(),
            Error::Archive(error) => Failure::new(Exit::Broken, error.to_string())
                .with_hint("what was not archived is still in the database"),
            Error::Running => Failure::new(Exit::Broken, error.to_string())
                .with_hint("the broker's daily look, or another `tasker prune`; try again when it is done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_at_least_one() {
        assert_eq!((parse_days("90d"), parse_days("1")), (Ok(90), Ok(1)));
        for text in ["0", "1.5d", "2h", "", "d", "36501"] {
            assert!(parse_days(text).is_err(), "{text}");
        }
    }
}
