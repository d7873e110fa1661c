//! What is reported of a run, and how it is put together from what was seen before and after.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::distribution::{Latency, Recorder, Spread, spread};
use super::floor::Floor;
use super::limit::{self, GroupSize, LimitOptions, LimitReport};
use super::processes::{self, Usage};
use super::{Error, Machine, Options, Pace, Passed, RegisteredTemplate, health, round_trip, wakefulness};
use crate::client::Client;
use crate::protocol::{HealthReport, ListWorkers};
use crate::store::{Mark, Measure, Server};

/// The lane that a broker owns.
const LANE: i16 = 1;

/// Bytes of a result when other workers than the native ones have made it, about.
const RESULT_BYTES: usize = 100;

/// The limit is measured for no longer than this.
const LIMIT_MAX: Duration = Duration::from_secs(60);

/// Tasks whose steps' times are read, evenly spread over the run.
const SAMPLE: usize = 2_000;

/// The figures of one run. What could not be seen is absent, never guessed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// Version of the broker.
    pub broker_version: String,
    /// Version of Postgres.
    pub postgres_version: Option<String>,
    /// Settings of Postgres that decide what a commit costs.
    pub postgres_settings: BTreeMap<String, String>,
    /// How the load was made.
    pub setting: Setting,
    /// Share of the time in which the kernel was asked to have idle cores wait awake (`broker.keep_awake_ms`); absent when this
    /// process may not look. When it was most of the time, it is asked the same for the limit and the round trip.
    pub kept_awake: Option<f64>,
    /// Tasks that ended.
    pub tasks: u64,
    /// Of them, those that did not complete.
    pub tasks_failed: u64,
    /// Steps that completed: counted in the database, when that could be asked.
    pub steps: u64,
    /// From the first submission to the last completion.
    pub seconds: f64,
    /// Completed steps a second.
    pub steps_per_second: f64,
    /// The same of each run, in their order, when this is the report of one of several.
    pub runs_steps_per_second: Vec<f64>,
    /// Ended tasks a second.
    pub tasks_per_second: f64,
    /// Tasks accepted durably a second, while they were submitted. With a bound on tasks in the air that bound decides.
    pub submitted_per_second: f64,
    /// From when a task was due to the word that it has ended.
    pub submit_to_complete: Latency,
    /// From when a task was due to the word that it is durable.
    pub submit_to_accepted: Latency,
    /// From the commit that made a step ready until its handler started; of a sample of tasks.
    pub ready_to_started: Option<Latency>,
    /// From then until the commit of its result began; of a sample of tasks.
    pub started_to_accepted: Option<Latency>,
    /// Tasks whose event of the end was lost; they are in no latency to completion.
    pub ends_unheard: u64,
    /// Things saved in a commit group.
    pub commit_sizes: Spread,
    /// Microseconds until a group was durable.
    pub commit_times_us: Spread,
    /// Bytes of WAL a step, of everything in the cluster.
    pub wal_bytes_per_step: Option<f64>,
    /// The least round trip over loopback, measured after the load.
    pub round_trip: Latency,
    /// By process.
    pub cpu: Cpu,
    /// By process, at the end.
    pub memory: Memory,
    /// What was written, for a comparison with what Postgres alone takes.
    pub written: Option<Written>,
    /// What Postgres alone takes for the same rows in groups of the same sizes, when that was measured.
    pub limit: Option<LimitReport>,
    /// Steps a second of the run to those of the limit.
    pub ratio_to_limit: Option<f64>,
    /// What a task takes at least, when the limit was measured, tasks were submitted one at a time, and their shape tells.
    pub floor: Option<Floor>,
}

/// How the load was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Setting {
    /// The tasks' shape.
    pub shape: String,
    /// Steps of each task.
    pub steps_per_task: u64,
    /// Those of its longest way, when the shape tells.
    pub steps_in_a_row: Option<u64>,
    /// Most tasks in the air, when that was the bound.
    pub in_flight: Option<u64>,
    /// Tasks a second, when that was the pace.
    pub rate: Option<f64>,
    /// Connections that submit.
    pub submitters: usize,
    /// Most tasks in a message.
    pub tasks_per_message: usize,
    /// Bytes of a context.
    pub context_bytes: usize,
    /// Bytes of a result of native workers.
    pub result_bytes: Option<usize>,
    /// Workers that served the template, as the broker names them.
    pub workers: Vec<WorkerSetting>,
}

/// A worker of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WorkerSetting {
    /// Its name.
    pub name: String,
    /// Its steps at once.
    pub concurrency: u32,
    /// For example `ruby 3.1.2`.
    pub language: String,
}

/// CPU time a completed step, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    /// The broker.
    pub broker_us: Option<f64>,
    /// Of that, its thread that serves HTTP.
    pub broker_http_us: Option<f64>,
    /// All processes of Postgres.
    pub postgres_us: Option<f64>,
    /// Workers in processes of their own.
    pub workers_us: Option<f64>,
    /// This process: the load, and native workers.
    pub bench_us: Option<f64>,
}

/// Resident memory at the end, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// The broker.
    pub broker_bytes: Option<u64>,
    /// All processes of Postgres; pages that they share are counted in each.
    pub postgres_bytes: Option<u64>,
    /// Workers in processes of their own.
    pub workers_bytes: Option<u64>,
}

/// What was written, for a comparison with what Postgres alone takes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Written {
    /// Rows of a group, and how many groups had so many.
    pub group_sizes: Vec<(u32, u64)>,
    /// Steps of a batch, on average.
    pub steps_per_batch: f64,
}

impl Report {
    /// Measures what Postgres alone takes for the rows of this run, in a database of its own beside the broker's.
    pub fn measure_limit(
        &mut self,
        options: &Options,
        url: &str,
        stop: impl Future<Output = ()>,
    ) -> Result<(), limit::Error> {
        let Some(written) = &self.written else { return Ok(()) };
        let _awake = wakefulness::as_in_a_run(self.kept_awake);
        let whole = |number: f64| NonZeroU32::new(number.round() as u32).unwrap_or(NonZeroU32::MIN);
        let sizes = written.group_sizes.iter();
        let limit = limit::measure(
            &LimitOptions {
                url: url.to_owned(),
                steps_per_task: whole(self.setting.steps_per_task as f64),
                context_bytes: options.context_bytes,
                result_bytes: options.work.as_ref().map_or(RESULT_BYTES, |work| work.result_bytes),
                batch_steps: whole(written.steps_per_batch),
                tasks_per_command: whole(options.tasks_per_message as f64),
                groups: sizes.filter_map(|(rows, n)| Some((GroupSize::Rows(NonZeroU32::new(*rows)?), *n))).collect(),
                steps: self.steps,
                time_max: LIMIT_MAX,
            },
            stop,
        )?;
        self.ratio_to_limit = Some(per(self.steps_per_second, limit.steps_per_second));
        self.floor = self.setting.steps_in_a_row.filter(|_| self.setting.in_flight == Some(1)).and_then(|steps| {
            Floor::of(steps, limit.commit_ms.p50, self.round_trip.p50_ms, self.submit_to_complete.p50_ms)
        });
        self.limit = Some(limit);
        Ok(())
    }
}

/// All that is looked at before a run and after it.
pub(super) struct Before {
    measure: Option<(tokio::runtime::Runtime, Measure, Server)>,
    mark: Option<Mark>,
    health: HealthReport,
    processes: Processes,
    usage: Usages,
}

/// The processes that are looked at, as far as they are known and on this machine.
struct Processes {
    broker: Option<u32>,
    postmaster: Option<u32>,
    workers: Vec<u32>,
    worker_settings: Vec<WorkerSetting>,
}

/// The name of the broker's thread that serves HTTP.
const HTTP: &str = "http";

struct Usages {
    broker: Option<Usage>,
    /// CPU time in microseconds.
    broker_http: Option<u64>,
    postgres: Option<Usage>,
    workers: Vec<Usage>,
    bench: Option<Usage>,
}

impl Processes {
    fn find(client: &mut Client, server: Option<&Server>) -> Result<Processes, Error> {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let is_here = |name: &str| host.as_deref() == Some(name);
        let workers = client.request(ListWorkers { correlation_id: Uuid::nil() })?.workers;
        let settings = workers.iter().map(|worker| WorkerSetting {
            name: worker.name.clone(),
            concurrency: worker.concurrency,
            language: worker.language.clone(),
        });
        let worker_settings = settings.collect();
        let others = workers.iter().filter(|worker| is_here(&worker.host) && worker.pid != std::process::id());
        let broker = server.and_then(|server| server.broker.as_ref()).filter(|(_, host)| is_here(host));
        Ok(Processes {
            broker: broker.map(|(pid, _)| *pid),
            postmaster: server.and_then(|server| processes::postmaster(server.local_pid?)),
            workers: others.map(|worker| worker.pid).collect(),
            worker_settings,
        })
    }

    fn usage(&self) -> Usages {
        Usages {
            broker: self.broker.and_then(processes::of),
            broker_http: self.broker.and_then(|pid| processes::threads_us(pid, HTTP)),
            postgres: self.postmaster.and_then(processes::of_family),
            workers: self.workers.iter().filter_map(|pid| processes::of(*pid)).collect(),
            bench: processes::of(std::process::id()),
        }
    }
}

impl Before {
    pub(super) fn take(options: &Options, client: &mut Client) -> Result<Before, Error> {
        let measure = match &options.target.database_url {
            Some(url) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let measure = runtime.block_on(async { Measure::connect(url) })?;
                let server = runtime.block_on(measure.server(LANE))?;
                Some((runtime, measure, server))
            }
            None => None,
        };
        let processes = Processes::find(client, measure.as_ref().map(|(.., server)| server))?;
        let mark = measure.as_ref().map(|(runtime, measure, _)| runtime.block_on(measure.mark(LANE))).transpose()?;
        let health = health(client)?;
        let usage = processes.usage();
        Ok(Before { measure, mark, health, processes, usage })
    }

    pub(super) fn report(
        self,
        options: &Options,
        template: &RegisteredTemplate,
        client: &mut Client,
        passed: Passed,
    ) -> Result<Report, Error> {
        let usage = self.processes.usage();
        let health = health(client)?;
        let tasks = u64::try_from(passed.tasks.len()).unwrap_or(u64::MAX);
        let seconds = passed.took.as_secs_f64();
        let mut report = Report {
            machine: Machine::this(),
            broker_version: health.version.clone(),
            setting: setting(options, template, &self.processes),
            kept_awake: passed.kept_awake,
            tasks,
            tasks_failed: passed.failed,
            steps: (tasks - passed.failed) * template.steps,
            seconds,
            submitted_per_second: per(tasks as f64, passed.submitting.as_secs_f64()),
            submit_to_complete: passed.submit_to_complete.latency(),
            submit_to_accepted: passed.submit_to_accepted.latency(),
            ends_unheard: passed.unheard,
            commit_sizes: spread(&self.health.commit_sizes, &health.commit_sizes),
            commit_times_us: spread(&self.health.commit_times_us, &health.commit_times_us),
            memory: usage.memory(),
            ..Report::default()
        };
        if let (Some((runtime, measure, server)), Some(mark)) = (&self.measure, self.mark) {
            report.postgres_version = Some(server.version.clone());
            report.postgres_settings = server.settings.iter().cloned().collect();
            runtime.block_on(ask(measure, mark, &template.key, &passed.tasks, &mut report))?;
        }
        report.steps_per_second = per(report.steps as f64, seconds);
        report.tasks_per_second = per(tasks as f64, seconds);
        report.cpu = usage.since(&self.usage, report.steps);
        // At last: it is nothing of the run's.
        report.round_trip = round_trip(passed.kept_awake)?;
        Ok(report)
    }
}

/// The least round trip, with cores as awake as they were in the run.
fn round_trip(kept_awake: Option<f64>) -> Result<Latency, Error> {
    let _awake = wakefulness::as_in_a_run(kept_awake);
    Ok(round_trip::measure()?)
}

/// What only the database knows.
async fn ask(
    measure: &Measure,
    before: Mark,
    template: &str,
    tasks: &[Uuid],
    report: &mut Report,
) -> Result<(), Error> {
    let after = measure.mark(LANE).await?;
    let (Some(first), Some(last)) = (tasks.iter().min(), tasks.iter().max()) else { return Ok(()) };
    report.steps = measure.completed_steps(template, *first, *last).await?;
    report.wal_bytes_per_step = Some(per(after.wal_bytes - before.wal_bytes, report.steps as f64));
    let sample: Vec<Uuid> = tasks.iter().step_by(tasks.len().div_ceil(SAMPLE)).copied().collect();
    let (mut queued, mut ran) = (Recorder::default(), Recorder::default());
    for times in measure.step_times(&sample).await? {
        // Clocks of two processes may differ by a hair.
        queued.add_us(u64::try_from(times.ready_to_started_us).unwrap_or(0));
        ran.add_us(u64::try_from(times.started_to_accepted_us).unwrap_or(0));
    }
    report.ready_to_started = Some(queued.latency());
    report.started_to_accepted = Some(ran.latency());
    let group_sizes = measure.group_sizes(LANE, before.seq, after.seq).await?;
    let steps_per_batch = measure.steps_per_batch(LANE, before.seq, after.seq, *first).await?;
    report.written = Some(Written { group_sizes, steps_per_batch });
    Ok(())
}

fn setting(options: &Options, template: &RegisteredTemplate, processes: &Processes) -> Setting {
    let (in_flight, rate) = match options.pace {
        Pace::InFlight(tasks) => (Some(tasks), None),
        Pace::Rate(rate) => (None, Some(rate)),
    };
    Setting {
        shape: options.shape.to_string(),
        steps_per_task: template.steps,
        steps_in_a_row: options.shape.steps_in_a_row(),
        in_flight,
        rate,
        submitters: options.submitters,
        tasks_per_message: options.tasks_per_message,
        context_bytes: options.context_bytes,
        result_bytes: options.work.as_ref().map(|work| work.result_bytes),
        workers: processes.worker_settings.clone(),
    }
}

impl Usages {
    /// What a step has cost since.
    fn since(&self, before: &Usages, steps: u64) -> Cpu {
        let used = |after: Option<Usage>, before: Option<Usage>| {
            let used = after?.cpu_us.saturating_sub(before?.cpu_us);
            (steps > 0).then(|| used as f64 / steps as f64)
        };
        let of_threads = |cpu_us: u64| Usage { cpu_us, ..Usage::default() };
        let workers = |usages: &[Usage]| {
            let cpu_us = usages.iter().map(|usage| usage.cpu_us).sum();
            (!usages.is_empty()).then(|| Usage { cpu_us, ..Usage::default() })
        };
        Cpu {
            broker_us: used(self.broker, before.broker),
            broker_http_us: used(self.broker_http.map(of_threads), before.broker_http.map(of_threads)),
            postgres_us: used(self.postgres, before.postgres),
            workers_us: used(workers(&self.workers), workers(&before.workers)),
            bench_us: used(self.bench, before.bench),
        }
    }

    fn memory(&self) -> Memory {
        let workers: u64 = self.workers.iter().map(|usage| usage.resident_bytes).sum();
        Memory {
            broker_bytes: self.broker.map(|usage| usage.resident_bytes),
            postgres_bytes: self.postgres.map(|usage| usage.resident_bytes),
            workers_bytes: (!self.workers.is_empty()).then_some(workers),
        }
    }
}

/// How many a unit; 0 of nothing.
fn per(count: f64, of: f64) -> f64 {
    if of > 0.0 { count / of } else { 0.0 }
}
