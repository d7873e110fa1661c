//! `tasker bench --with-pollers`: what it costs a broker to be looked at.

use std::fmt::Write as _;

use super::super::output::Table;
use super::super::{Exit, Failure, Global};
use super::interrupt::Interrupt;
use super::private::PrivateBroker;
use super::table::{load, machine, number, workers};
use super::{progress, show};
use crate::bench::{self, Comparison, ComparisonOptions, Latency, Loaded, Ratio, Site};

/// Where to look at the broker.
pub(super) fn site(global: &Global, private: Option<&PrivateBroker>) -> Result<Site, Failure> {
    let http = match private {
        Some(broker) => broker.http(),
        None => global.http.as_deref().filter(|http| !http.is_empty()),
    };
    let http = http.ok_or_else(|| {
        Failure::usage("whoever polls needs the broker's HTTP server, and none is known").with_hint(
            "--http or TASKER_HTTP says where; of `--start`, http.listen of the configuration must not be empty",
        )
    })?;
    let address = http.strip_prefix("http://").map(|address| address.trim_end_matches('/'));
    let address = address.ok_or_else(|| Failure::usage(format!("`{http}` is no http://HOST:PORT")))?.to_owned();
    let token = match &global.token_file {
        Some(file) if !file.as_os_str().is_empty() => {
            let token = std::fs::read_to_string(file);
            Some(token.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?.trim().to_owned())
        }
        _ => None,
    };
    Ok(Site { address, token, timeout: global.timeout })
}

pub(super) fn compare(options: ComparisonOptions, interrupt: &Interrupt) -> Result<Comparison, Failure> {
    let bar = progress();
    let comparison = bench::compare(&options, |round, progress| {
        show(&bar, progress);
        bar.set_message(format!("round {} of {}", round + 1, options.rounds));
        !interrupt.is_asked()
    });
    bar.finish_and_clear();
    Ok(comparison?)
}

pub(super) fn print(global: &Global, comparison: &Comparison) -> Result<Exit, Failure> {
    global.output.print(comparison, || render(comparison))?;
    let failed = comparison.full.tasks_failed + comparison.lone.tasks_failed;
    Ok(if failed == 0 { Exit::Done } else { Exit::Unsuccessful })
}

fn render(comparison: &Comparison) -> String {
    let postgres = comparison.postgres_version.as_deref().map(|version| format!(", Postgres {version}"));
    let mut text = format!(
        "machine     {}\nversions    tasker {}{}\npolling     {} of each: overview, list of tasks, all events, /metrics, the API\n",
        machine(&comparison.machine),
        comparison.broker_version,
        postgres.unwrap_or_default(),
        comparison.pollers,
    );
    for (name, loaded) in [("full load", &comparison.full), ("lone task", &comparison.lone)] {
        let _ = write!(text, "\n{name:<12}{}\nworkers     {}\n", load(&loaded.setting), workers(&loaded.setting));
        if loaded.tasks_failed > 0 {
            let _ = writeln!(text, "failed      {} tasks did not complete", loaded.tasks_failed);
        }
        let _ = write!(text, "\n{}\n{}", figures(loaded), asked(loaded));
    }
    text
}

fn figures(loaded: &Loaded) -> String {
    let rounds = loaded.rounds.len();
    let heading = format!("MEDIAN OF {rounds}");
    let mut table = Table::new(&[&heading, "QUIET", "POLLED", "POLLED / QUIET", "QUIET / QUIET"]);
    let ratio = |ratio: Ratio| format!("{:.3} ({:.3} to {:.3})", ratio.median, ratio.low, ratio.high);
    for figure in &loaded.compared {
        let value = |value: f64| if value < 1_000.0 { format!("{value:.2}") } else { number(value) };
        let (quiet, polled) = (value(figure.quiet), value(figure.polled));
        table.row([figure.what.to_owned(), quiet, polled, ratio(figure.ratio), ratio(figure.control)]);
    }
    table.render()
}

fn asked(loaded: &Loaded) -> String {
    let polled = &loaded.polled;
    let mut table = Table::new(&["ASKED", "ANSWERS", "P50 MS", "P99 MS", "MAX MS"]);
    let rows = [
        ("overview", polled.overview),
        ("list of tasks", polled.tasks),
        ("/metrics", polled.metrics),
        ("API", polled.api),
    ];
    for (name, Latency { count, p50_ms, p99_ms, max_ms, .. }) in rows {
        let times = [p50_ms, p99_ms, max_ms].map(|ms| format!("{ms:.2}"));
        table.row([name.to_owned(), number(count as f64)].into_iter().chain(times));
    }
    let (events, lost) = (number(polled.events as f64), number(polled.events_lost as f64));
    format!("{}\n{events} events were heard, {lost} left out for slow listeners\n", table.render())
}
