//! What Postgres alone takes: the rows of a broker's run, written through the store's own writer in groups of given sizes,
//! without an engine, sockets or workers. It happens in a database of its own on the same server, which is dropped
//! afterwards, so that the lane of a running broker and its rows are not touched.

mod cost;
mod work;

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tasker_engine::{Save, TemplateError};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::cost::{Cost, Meter};
use self::work::{Prepared, Work};
use crate::postgres::url::with_database;
use crate::store;

/// Groups that are made ahead, so that the next one is there when a commit ends; as in a broker, where one gathers while
/// another commits.
const GROUPS_AHEAD: usize = 2;

/// The lease of the scratch database's lane, for which nobody competes.
const LEASE: Duration = Duration::from_secs(600);

/// What to write.
#[derive(Clone, Debug)]
pub struct LimitOptions {
    /// A database of the server to be measured. The role must be allowed to make another one (`CREATEDB`).
    pub url: String,
    /// Steps of each task. How they depend on each other makes no difference to the rows.
    pub steps_per_task: NonZeroU32,
    /// Size of a task's context.
    pub context_bytes: usize,
    /// Size of a step's result.
    pub result_bytes: usize,
    /// Steps of each batch but the last of a group.
    pub batch_steps: NonZeroU32,
    /// Tasks of each `InitializeTask` command, which leaves one row.
    pub tasks_per_command: NonZeroU32,
    /// Sizes of the commit groups, and how often each one occurs among the others; a run's `group_log` has them.
    pub groups: Vec<(GroupSize, u64)>,
    /// Steps to write, rounded up to whole tasks.
    pub steps: u64,
    /// No new tasks are made after this time.
    pub time_max: Duration,
}

/// The size of a commit group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupSize {
    /// As many steps end in it.
    Steps(NonZeroU32),
    /// It has as many rows, as `group_log` counts them, or a few more.
    Rows(NonZeroU32),
}

/// What it cost. A "step" is everything that is written for one: its share of the task, the step, its dispatch and its
/// outcome.
#[derive(Clone, Debug, Serialize)]
pub struct LimitReport {
    /// Steps written.
    pub steps: u64,
    /// Tasks that they belong to.
    pub tasks: u64,
    /// Commit groups.
    pub groups: u64,
    /// Rows, as `group_log` counts them.
    pub rows: u64,
    /// From the first group to the last commit.
    pub seconds: f64,
    /// Steps in each of these seconds.
    pub steps_per_second: f64,
    /// Time of a commit, from the first byte of the group to the answer of Postgres.
    pub commit_ms: CommitTimes,
    /// Write-ahead log of the whole server meanwhile.
    pub wal_bytes_per_step: f64,
    /// Processor time of all processes of the server; `None` when it runs elsewhere.
    pub postgres_cpu_us_per_step: Option<f64>,
    /// Processor time of the writer: sorting rows, encoding them, waiting for the answer.
    pub client_cpu_us_per_step: f64,
}

/// Times of commits in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct CommitTimes {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not take part.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The task is larger than a template may be.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No group may have any size.
    #[error("no sizes of commit groups are given")]
    NoGroups,
    /// The thread that writes has no runtime.
    #[error("failed to start a runtime: {0}")]
    Runtime(std::io::Error),
    /// It was asked to end.
    #[error("stopped")]
    Stopped,
}

/// Measures in a database of its own. Blocks the calling thread, whose processor time is the client's; ends early, with
/// [`Error::Stopped`], when `stop` does. The database goes in any case.
pub fn measure(options: &LimitOptions, stop: impl Future<Output = ()>) -> Result<LimitReport, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let name = format!("tasker_limit_{}", Uuid::now_v7().simple());
        let url = with_database(&options.url, &name);
        let scratch = store::Scratch::create(&options.url, name, url).await?;
        let measured = tokio::select! {
            measured = measure_in(scratch.url(), options) => measured,
            () = stop => Err(Error::Stopped),
        };
        scratch.drop().await?;
        measured
    })
}

/// Measures in the database of `url` instead of that of the options: it has been migrated, and its lane 1 is free.
pub async fn measure_in(url: &str, options: &LimitOptions) -> Result<LimitReport, Error> {
    if options.groups.iter().all(|(_, count)| *count == 0) {
        return Err(Error::NoGroups);
    }
    let work = Work::new(options)?;
    let broker = store::Broker {
        id: Uuid::now_v7(),
        host: "bench".into(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut writer = store::claim(url, &broker, 1, LEASE).await?;
    writer.commit(&store::Group { saves: &work.prologue(), oldest_open_batch: None }).await?;
    let meter = Meter::new(url).await?;
    let measured = write(&mut writer, work, options.time_max, meter).await;
    writer.release().await?;
    measured
}

/// Commits what the work consists of, and sums up.
async fn write(
    writer: &mut store::Writer,
    mut work: Work,
    time_max: Duration,
    mut meter: Meter,
) -> Result<LimitReport, Error> {
    let (sender, mut groups) = mpsc::channel::<Prepared>(GROUPS_AHEAD);
    let before = meter.read().await?;
    let begun = Instant::now();
    // The thread ends with its receiver.
    thread::spawn(move || {
        while let Some(group) = work.next_group(begun.elapsed() < time_max) {
            if sender.blocking_send(group).is_err() {
                return;
            }
        }
    });
    let mut totals = Totals::default();
    while let Some(group) = groups.recv().await {
        let rows = store::Group { saves: &group.saves, oldest_open_batch: group.oldest_open_batch };
        let handed_over = Instant::now();
        let committed = writer.commit(&rows).await?;
        totals.commits.push(handed_over.elapsed());
        totals.rows += u64::from(committed.rows);
        totals.count(&group.saves);
    }
    let elapsed = begun.elapsed();
    Ok(totals.report(elapsed, meter.read().await?.since(before)))
}

#[derive(Default)]
struct Totals {
    steps: u64,
    tasks: u64,
    rows: u64,
    commits: Vec<Duration>,
}

impl Totals {
    fn count(&mut self, saves: &[Save]) {
        for save in saves {
            match save {
                Save::StepSettled(_) => self.steps += 1,
                Save::TaskFinished { .. } => self.tasks += 1,
                _ => {}
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "nobody reads that many digits")]
    fn report(mut self, elapsed: Duration, cost: Cost) -> LimitReport {
        self.commits.sort_unstable();
        let (groups, steps) = (self.commits.len() as u64, self.steps as f64);
        let sum: Duration = self.commits.iter().sum();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let last = self.commits.len().saturating_sub(1);
        let percentile = |part: usize| self.commits.get(last * part / 100).copied().map_or(0.0, ms);
        LimitReport {
            steps: self.steps,
            tasks: self.tasks,
            groups,
            rows: self.rows,
            seconds: elapsed.as_secs_f64(),
            steps_per_second: steps / elapsed.as_secs_f64(),
            commit_ms: CommitTimes {
                mean: ms(sum) / groups as f64,
                p50: percentile(50),
                p99: percentile(99),
                max: percentile(100),
            },
            wal_bytes_per_step: cost.wal_bytes / steps,
            postgres_cpu_us_per_step: cost.postgres_us.map(|us| us / steps),
            client_cpu_us_per_step: cost.client_us / steps,
        }
    }
}
