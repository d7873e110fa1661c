//! What those who look at a broker cost its work: the same load without them and with them, in one run against one broker.
//!
//! A machine that others use drifts by more than what is to be found. So everything is told as a ratio to a pass that was next to
//! it: each round has three, of which the middle one is without clients that poll; on one side of it is one with them, on the
//! other one without, the *control*, in turn. What differs between the two ratios is the cost, and how far the control is
//! spread says how small a cost could be seen.

use serde::Serialize;

use super::polling::{Polled, Pollers, Site, Tally};
use super::{Error, Machine, Options, Pace, Progress, Report, Setting, run};

/// What is compared, and how often.
#[derive(Clone, Debug)]
pub struct ComparisonOptions {
    /// The full load. That of a lone task is the same with one task in the air, and fewer of them.
    pub full: Options,
    /// Where to look at the broker.
    pub site: Site,
    /// Clients of each kind that look.
    pub pollers: usize,
    /// Rounds of three passes for each load.
    pub rounds: u8,
}

/// A lone task takes some milliseconds, so that fewer of them take as long.
const LONE_SHARE: u64 = 20;

impl ComparisonOptions {
    fn lone(&self) -> Options {
        let fewer = |tasks: u64| tasks.div_ceil(LONE_SHARE);
        let (tasks, warm_up) = (fewer(self.full.tasks), fewer(self.full.warm_up));
        Options { tasks, warm_up, pace: Pace::InFlight(1), submitters: 1, tasks_per_message: 1, ..self.full.clone() }
    }
}

/// What is compared of a pass.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Completed steps a second.
    pub steps_per_second: f64,
    /// From when a task was due to its end, half of them.
    pub p50_ms: f64,
    /// The same, 99 of 100.
    pub p99_ms: f64,
    /// CPU time of the broker a step, in microseconds.
    pub broker_us: Option<f64>,
    /// Of that, what is not the thread that serves HTTP.
    pub broker_beside_http_us: Option<f64>,
    /// CPU time of Postgres a step, in microseconds.
    pub postgres_us: Option<f64>,
}

impl Figures {
    fn of(report: &Report) -> Figures {
        let cpu = &report.cpu;
        let beside_http = cpu.broker_us.zip(cpu.broker_http_us).map(|(broker, http)| broker - http);
        Figures {
            steps_per_second: report.steps_per_second,
            p50_ms: report.submit_to_complete.p50_ms,
            p99_ms: report.submit_to_complete.p99_ms,
            broker_us: cpu.broker_us,
            broker_beside_http_us: beside_http,
            postgres_us: cpu.postgres_us,
        }
    }
}

/// Three passes next to each other.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Round {
    /// In the middle, nobody looks.
    pub quiet: Figures,
    /// Beside it, nobody looks either.
    pub control: Figures,
    /// At the other side, they do.
    pub polled: Figures,
}

/// A ratio of each round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ratio {
    /// The one in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// A figure without and with those who look.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Compared {
    /// Its name.
    pub what: &'static str,
    /// Without them; the median of all such passes.
    pub quiet: f64,
    /// With them; the median.
    pub polled: f64,
    /// With to without, round by round.
    pub ratio: Ratio,
    /// Without to without, which is 1 but for chance.
    pub control: Ratio,
}

/// One load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Loaded {
    /// How it was made.
    pub setting: Setting,
    /// What it cost to be looked at.
    pub compared: Vec<Compared>,
    /// What was measured, in order.
    pub rounds: Vec<Round>,
    /// What those who looked have asked, in all passes with them.
    pub polled: Polled,
    /// Tasks that did not complete.
    pub tasks_failed: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// The machine.
    pub machine: Machine,
    /// Version of the broker.
    pub broker_version: String,
    /// Version of Postgres.
    pub postgres_version: Option<String>,
    /// Clients of each kind that looked.
    pub pollers: usize,
    /// As many tasks as the broker takes.
    pub full: Loaded,
    /// One task at a time.
    pub lone: Loaded,
}

/// Makes all rounds, first those of the full load. `watch` is told the round and how far its pass is, and says whether to go on.
pub fn compare(options: &ComparisonOptions, watch: impl FnMut(u8, Progress) -> bool) -> Result<Comparison, Error> {
    let mut comparing = Comparing { options, watch, told: None };
    let full = comparing.load(&options.full)?;
    let lone = comparing.load(&options.lone())?;
    let told = comparing.told.unwrap_or_default();
    Ok(Comparison {
        machine: told.machine,
        broker_version: told.broker_version,
        postgres_version: told.postgres_version,
        pollers: options.pollers,
        full,
        lone,
    })
}

struct Comparing<'a, W> {
    options: &'a ComparisonOptions,
    watch: W,
    /// The last report.
    told: Option<Report>,
}

impl<W: FnMut(u8, Progress) -> bool> Comparing<'_, W> {
    fn load(&mut self, options: &Options) -> Result<Loaded, Error> {
        let tally = Tally::default();
        let mut loaded = Loaded::default();
        for number in 0..self.options.rounds {
            let mut pass = |is_polled: bool| {
                let report =
                    if is_polled { self.polled(options, number, &tally) } else { self.quiet(options, number) }?;
                let figures = Figures::of(&report);
                loaded.tasks_failed += report.tasks_failed;
                loaded.setting = report.setting.clone();
                self.told = Some(report);
                Ok::<_, Error>(figures)
            };
            let polled_first = !number.is_multiple_of(2);
            let (first, quiet, last) = (pass(polled_first)?, pass(false)?, pass(!polled_first)?);
            let (polled, control) = if polled_first { (first, last) } else { (last, first) };
            loaded.rounds.push(Round { quiet, control, polled });
        }
        loaded.compared = compared(&loaded.rounds);
        loaded.polled = tally.polled();
        Ok(loaded)
    }

    fn quiet(&mut self, options: &Options, round: u8) -> Result<Report, Error> {
        run(options, |progress| (self.watch)(round, progress))
    }

    fn polled(&mut self, options: &Options, round: u8, tally: &Tally) -> Result<Report, Error> {
        let pollers = Pollers::start(&self.options.site, self.options.pollers)?;
        let report = run(options, |progress| (self.watch)(round, progress) && !pollers.have_failed());
        // Their failure comes first: it has interrupted the run.
        tally.add(&*pollers.stop()?);
        report
    }
}

/// What a figure is called, and where it is.
type Figure = (&'static str, fn(&Figures) -> Option<f64>);

const FIGURES: [Figure; 6] = [
    ("steps a second", |figures| Some(figures.steps_per_second)),
    ("submit to complete, p50 ms", |figures| Some(figures.p50_ms)),
    ("submit to complete, p99 ms", |figures| Some(figures.p99_ms)),
    ("CPU us a step, broker", |figures| figures.broker_us),
    ("the same beside its HTTP", |figures| figures.broker_beside_http_us),
    ("CPU us a step, Postgres", |figures| figures.postgres_us),
];

/// Of each figure that every pass has.
fn compared(rounds: &[Round]) -> Vec<Compared> {
    let of = |(what, read): Figure| {
        let all = |pass: fn(&Round) -> &Figures| -> Option<Vec<f64>> {
            rounds.iter().map(|round| read(pass(round))).collect()
        };
        let (quiet, control) = (all(|round| &round.quiet)?, all(|round| &round.control)?);
        let polled = all(|round| &round.polled)?;
        Some(Compared {
            what,
            ratio: ratio(&polled, &quiet)?,
            control: ratio(&control, &quiet)?,
            polled: median(polled)?,
            quiet: median([quiet, control].concat())?,
        })
    };
    FIGURES.into_iter().filter_map(of).collect()
}

fn ratio(these: &[f64], to: &[f64]) -> Option<Ratio> {
    let ratios: Vec<f64> = these.iter().zip(to).map(|(this, to)| this / to).collect();
    let low = ratios.iter().copied().reduce(f64::min)?;
    let high = ratios.iter().copied().reduce(f64::max)?;
    Some(Ratio { median: median(ratios)?, low, high })
}

/// The one in the middle, or between the two that are there.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(steps_per_second: f64, broker_us: Option<f64>) -> Figures {
        Figures { steps_per_second, broker_us, ..Figures::default() }
    }

    #[test]
    fn each_pass_is_compared_with_the_one_beside_it() {
        let round = |quiet, control, polled| Round {
            quiet: pass(quiet, Some(10.0)),
            control: pass(control, Some(11.0)),
            polled: pass(polled, None),
        };
        // The machine is twice as fast in the second round, which no ratio shows.
        let compared = compared(&[round(100.0, 102.0, 90.0), round(200.0, 196.0, 190.0)]);
        let steps = compared[0];
        assert_eq!((steps.what, steps.quiet, steps.polled), ("steps a second", 149.0, 140.0));
        assert_eq!(steps.ratio, Ratio { median: 0.925, low: 0.9, high: 0.95 });
        assert_eq!(steps.control, Ratio { median: 1.0, low: 0.98, high: 1.02 });
        assert!(
            compared.iter().all(|figure| !figure.what.starts_with("CPU")),
            "a figure that a pass lacks: {compared:?}"
        );
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
