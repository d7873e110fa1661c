//! A report for people.

use std::fmt::Write as _;

use super::super::output::{Table, or_dash};
use crate::bench::limit::LimitReport;
use crate::bench::{Floor, Latency, Machine, Report, Setting, Spread};

/// All figures, with what they depend on.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let setting = &report.setting;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("machine", machine(&report.machine));
    let postgres = report.postgres_version.as_deref().map(|version| {
        let settings: Vec<String> =
            report.postgres_settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(", Postgres {version} ({})", settings.join(" "))
    });
    line("versions", format!("tasker {}{}", report.broker_version, postgres.unwrap_or_default()));
    if let Some(share) = report.kept_awake.filter(|share| *share > 0.0) {
        line("awake", format!("idle cores were asked to wait awake for {:.0} % of the time", share * 100.0));
    }
    line("load", load(setting));
    line("workers", workers(setting));
    line(
        "done",
        format!(
            "{} tasks, {} steps in {:.2} s{}{}",
            number(report.tasks as f64),
            number(report.steps as f64),
            report.seconds,
            some(report.tasks_failed, "tasks did not complete"),
            some(report.ends_unheard, "ends were not heard"),
        ),
    );
    line(
        "throughput",
        format!("{} steps/s, {} tasks/s", number(report.steps_per_second), number(report.tasks_per_second)),
    );
    if report.runs_steps_per_second.len() > 1 {
        let runs: Vec<String> = report.runs_steps_per_second.iter().map(|steps| number(*steps)).collect();
        line("runs", format!("{} steps/s; this is the median", runs.join(", ")));
    }
    line("accepted", format!("{} tasks/s", number(report.submitted_per_second)));
    text.push('\n');
    text.push_str(&latencies(report));
    text.push('\n');
    text.push_str(&spreads(report));
    text.push('\n');
    text.push_str(&costs(report));
    text
}

/// What was submitted, and how.
pub(super) fn load(setting: &Setting) -> String {
    let pace = match (setting.in_flight, setting.rate) {
        (_, Some(rate)) => format!("{} tasks/s, open loop", number(rate)),
        (Some(tasks), None) => format!("{} tasks in the air", number(tasks as f64)),
        (None, None) => String::new(),
    };
    format!(
        "{} ({} steps), {pace}, {} submitters, {} tasks a message, context of {} bytes",
        setting.shape, setting.steps_per_task, setting.submitters, setting.tasks_per_message, setting.context_bytes
    )
}

/// Who worked.
pub(super) fn workers(setting: &Setting) -> String {
    let workers = setting.workers.iter().map(|worker| format!("{} x {}", worker.language, worker.concurrency));
    workers.collect::<Vec<_>>().join(", ")
}

/// The machine in a line.
pub(super) fn machine(machine: &Machine) -> String {
    let gib = machine.memory_bytes as f64 / f64::from(1_u32 << 30);
    format!("{}, {} cores, {gib:.0} GiB, Linux {}", machine.processor, machine.cores, machine.kernel)
}

fn some(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("; {count} {what}") }
}

fn latencies(report: &Report) -> String {
    let mut table = Table::new(&["LATENCY", "P50 MS", "P90 MS", "P99 MS", "MAX MS", "COUNT"]);
    let rows = [
        ("submit to complete", Some(report.submit_to_complete)),
        ("submit to accepted", Some(report.submit_to_accepted)),
        ("ready to started", report.ready_to_started),
        ("started to accepted", report.started_to_accepted),
        ("loopback round trip", Some(report.round_trip)),
    ];
    for (name, latency) in rows {
        let Some(Latency { count, p50_ms, p90_ms, p99_ms, max_ms }) = latency else { continue };
        let times = [p50_ms, p90_ms, p99_ms, max_ms].map(|ms| format!("{ms:.2}"));
        table.row([name.to_owned()].into_iter().chain(times).chain([number(count as f64)]));
    }
    table.render()
}

fn spreads(report: &Report) -> String {
    let mut table = Table::new(&["COMMITS", "P50", "P90", "P99", "MAX", "COUNT"]);
    let rows = [("things saved", report.commit_sizes, 1.0), ("time in ms", report.commit_times_us, 1_000.0)];
    for (name, Spread { count, p50, p90, p99, max }, scale) in rows {
        let digits = if scale > 1.0 { 2 } else { 0 };
        let values = [p50, p90, p99, max].map(|value| format!("{:.digits$}", value as f64 / scale));
        table.row([name.to_owned()].into_iter().chain(values).chain([number(count as f64)]));
    }
    table.render()
}

fn costs(report: &Report) -> String {
    let mut table = Table::new(&["COST", "CPU US A STEP", "RESIDENT MIB"]);
    let (cpu, memory) = (report.cpu, report.memory);
    let rows = [
        ("broker", cpu.broker_us, memory.broker_bytes),
        ("postgres", cpu.postgres_us, memory.postgres_bytes),
        ("workers", cpu.workers_us, memory.workers_bytes),
        ("bench", cpu.bench_us, None),
    ];
    for (name, cpu_us, bytes) in rows {
        if cpu_us.is_some() || bytes.is_some() {
            let mib = bytes.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1_u32 << 20)));
            table.row([name.to_owned(), or_dash(cpu_us.map(|us| format!("{us:.1}"))), or_dash(mib)]);
        }
    }
    let mut text = table.render();
    if let Some(bytes) = report.wal_bytes_per_step {
        let _ = writeln!(text, "\nWAL         {} bytes a step", number(bytes));
    }
    if let (Some(limit), Some(ratio)) = (&report.limit, report.ratio_to_limit) {
        let _ = writeln!(
            text,
            "limit       {} steps/s by Postgres alone: the run reached {:.0} % of it\n{}",
            number(limit.steps_per_second),
            ratio * 100.0,
            indented(&render_limit(limit))
        );
    }
    if let Some(Floor { rounds, ms, ratio }) = report.floor {
        let _ = writeln!(
            text,
            "floor       {ms:.2} ms a task, {rounds} commits of Postgres alone and {rounds} round trips: half of the tasks took {ratio:.2} \
             times that at most",
        );
    }
    text
}

/// What Postgres alone takes.
pub(super) fn render_limit(limit: &LimitReport) -> String {
    let commits = &limit.commit_ms;
    let mut text = format!(
        "{} steps of {} tasks in {} groups and {:.2} s: {} steps/s\ncommit p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms\n",
        number(limit.steps as f64),
        number(limit.tasks as f64),
        number(limit.groups as f64),
        limit.seconds,
        number(limit.steps_per_second),
        commits.p50,
        commits.p99,
        commits.max,
    );
    let _ = writeln!(
        text,
        "a step: {} bytes of WAL, {} us CPU of Postgres, {:.1} us of the writer",
        number(limit.wal_bytes_per_step),
        or_dash(limit.postgres_cpu_us_per_step.map(|us| format!("{us:.1}"))),
        limit.client_cpu_us_per_step,
    );
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("            {line}\n")).collect::<String>().trim_end().to_owned()
}

/// With a comma between thousands.
pub(super) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (12_345_678.0, "12,345,678")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn the_least_time_of_a_task_is_told() {
        let floor = Some(Floor { rounds: 5, ms: 2.0, ratio: 1.5 });
        let text = render(&Report { floor, ..Report::default() });
        let told = "floor       2.00 ms a task, 5 commits of Postgres alone and 5 round trips: half of the tasks took 1.50 times that";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn what_was_not_seen_is_not_shown() {
        let text = render(&Report::default());
        assert!(text.contains("submit to complete") && !text.contains("ready to started"), "{text}");
        assert!(!text.contains("WAL") && !text.contains("postgres") && !text.contains("floor"), "{text}");
        assert!(!text.contains("awake"), "{text}");
    }
}
