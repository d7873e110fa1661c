//! Load on a broker, and what it takes: workflows of a shape are submitted, a native worker or the workers that are there
//! run them, and everything is counted that says what a step costs.

mod comparison;
mod completions;
mod distribution;
mod figures;
mod floor;
pub mod limit;
mod load;
mod machine;
mod polling;
mod processes;
mod round_trip;
mod shape;
mod wakefulness;
mod worker;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use crate::client::{self, Client};
use crate::protocol::{HealthCheck, HealthLevel, HealthReport, RegisterTemplate};
use crate::security::ClientKeys;
use crate::store;
use completions::{Ended, Ends};
use distribution::Recorder;
use figures::Before;
use load::{Load, Submission};
use wakefulness::Wakefulness;
use worker::Workers;

pub use comparison::{Compared, Comparison, ComparisonOptions, Figures, Loaded, Ratio, Round, compare};
pub use distribution::{Latency, Spread};
pub use figures::{Cpu, Memory, Report, Setting, WorkerSetting, Written};
pub use floor::Floor;
pub use load::Pace;
pub use machine::Machine;
pub use polling::{PollError, Polled, Problem, Site};
pub use shape::{Shape, ShapeError};
pub use worker::Work;

/// Where the broker is, and how to get in.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its `work` endpoint.
    pub work: String,
    /// Its `events` endpoint: completions are heard there.
    pub events: String,
    /// Keys, when it demands some.
    pub keys: Option<ClientKeys>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Its database, for what only that can tell: WAL, the processes of Postgres, the times of steps.
    pub database_url: Option<String>,
}

/// What to do to it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker.
    pub target: Target,
    /// What each task looks like.
    pub shape: Shape,
    /// Tasks that are measured.
    pub tasks: u64,
    /// Tasks before those, to fill caches, plans and connections.
    pub warm_up: u64,
    /// When tasks are submitted.
    pub pace: Pace,
    /// Connections that submit.
    pub submitters: usize,
    /// Tasks in a message, at most.
    pub tasks_per_message: usize,
    /// Bytes of each task's context, about.
    pub context_bytes: usize,
    /// Native workers, and what they do; `None` leaves the steps to the workers that are there.
    pub work: Option<Work>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker could not be reached, or refused something.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A request was refused.
    #[error("the broker refused a task: {0}")]
    Task(String),
    /// The broker refused a native worker, or something that it sent.
    #[error("the broker refused a native worker: {0}")]
    Worker(String),
    /// A socket failed.
    #[error("a socket failed: {0}")]
    Socket(#[from] zmq::Error),
    /// Whoever looked at the broker meanwhile was not answered.
    #[error("whoever polls was not answered: {0}")]
    Poll(#[from] PollError),
    /// The operating system refused something.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// Whoever watches wants no more.
    #[error("interrupted")]
    Interrupted,
    /// Nothing moves.
    #[error("no task has ended for {} s; {left} are open. Does a worker serve {template}?", .waited.as_secs())]
    Stalled {
        /// How long that has been so.
        waited: Duration,
        /// Tasks that are not done.
        left: u64,
        /// What would have to be served.
        template: String,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Progress {
    /// Tasks that the broker has accepted.
    pub submitted: u64,
    /// Tasks that have ended.
    pub ended: u64,
    /// Of so many.
    pub tasks: u64,
}

/// What all threads of a run share.
#[derive(Debug, Default)]
struct Shared {
    submitted: AtomicU64,
    ended: Ended,
    ends: Mutex<Ends>,
    failure: Mutex<Option<Error>>,
    /// Everybody ends.
    over: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everybody; the first failure is the one that is told.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.over.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Error> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything is counted anew.
    fn reset(&self) {
        *self.ends() = Ends::default();
        self.submitted.store(0, Ordering::Relaxed);
        self.ended.reset();
    }
}

/// Nothing has ended for so long: there is no worker, or the broker is stuck.
const STALL: Duration = Duration::from_secs(30);

/// Events that come at all come much sooner than this after the last one.
const LATE: Duration = Duration::from_secs(2);

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Puts the load on the broker and counts. `watch` is told how far it is, some times a second, and says whether to go on.
pub fn run(options: &Options, mut watch: impl FnMut(Progress) -> bool) -> Result<Report, Error> {
    let mut client = Client::connect_with(&options.target.work, options.target.keys.as_ref(), options.target.timeout)?;
    let template = register(&mut client, &options.shape)?;
    let shared = Arc::new(Shared::default());
    let ending = Ending(shared.clone());
    let listener = completions::listen(&options.target, &template.key, &shared)?;
    let workers = Workers::start(options, &template, &shared)?;
    let run = Run { options, template: &template, shared: &shared };
    let report = run.all(&mut client, &mut watch);
    drop(ending);
    workers.join();
    listener.join().unwrap_or_else(|panic| resume_unwind(panic));
    let report = report?;
    shared.check()?;
    Ok(report)
}

/// Ends all threads, however the run ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What was seen of one load from its first submission to its last completion.
struct Passed {
    /// Wall time.
    took: Duration,
    /// From the first submission until the last acceptance.
    submitting: Duration,
    /// From when a task was due until its end was heard.
    submit_to_complete: Recorder,
    /// From when a task was due until its acceptance was heard.
    submit_to_accepted: Recorder,
    /// Tasks whose end was not heard, because the events were lost; they are in no latency.
    unheard: u64,
    /// Tasks that did not complete.
    failed: u64,
    /// Share of the time in which idle cores were asked to wait awake.
    kept_awake: Option<f64>,
    /// Ids of all tasks.
    tasks: Vec<Uuid>,
}

struct Run<'a> {
    options: &'a Options,
    template: &'a RegisteredTemplate,
    shared: &'a Arc<Shared>,
}

impl Run<'_> {
    fn all(&self, client: &mut Client, watch: &mut dyn FnMut(Progress) -> bool) -> Result<Report, Error> {
        self.probe(client)?;
        if self.options.warm_up > 0 {
            self.pass(client, self.options.warm_up, Pace::default(), watch)?;
        }
        let before = Before::take(self.options, client)?;
        let passed = self.pass(client, self.options.tasks, self.options.pace, watch)?;
        before.report(self.options, self.template, client, passed)
    }

    /// Runs one task after the other until the end of one is heard: from then on no end is missed for want of a connection.
    fn probe(&self, client: &mut Client) -> Result<(), Error> {
        loop {
            self.shared.reset();
            for submission in self.start(1, Pace::default()).join() {
                self.shared.check()?;
                completions::ask_for(client, submission.task)?;
            }
            self.shared.check()?;
            let deadline = Instant::now() + LATE;
            while Instant::now() < deadline {
                if self.shared.ended.get() > 0 {
                    return Ok(());
                }
                std::thread::sleep(LOOK);
            }
        }
    }

    fn start(&self, tasks: u64, pace: Pace) -> Load {
        Load::start(self.options, self.template, tasks, pace, self.shared)
    }

    /// Submits so many tasks and waits for their end.
    fn pass(
        &self,
        client: &mut Client,
        tasks: u64,
        pace: Pace,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Passed, Error> {
        self.shared.reset();
        let began = Instant::now();
        let load = self.start(tasks, pace);
        let (mut moved, mut ended_before) = (began, 0);
        let mut wakefulness = Wakefulness::watch();
        loop {
            std::thread::sleep(LOOK);
            wakefulness.look();
            self.shared.check()?;
            let submitted = self.shared.submitted.load(Ordering::Relaxed);
            let ended = self.shared.ended.get();
            if !watch(Progress { submitted, ended, tasks }) {
                return Err(Error::Interrupted);
            }
            if ended >= tasks {
                break;
            }
            if ended != ended_before {
                (moved, ended_before) = (Instant::now(), ended);
            }
            let waited = moved.elapsed();
            if submitted == tasks && waited > LATE {
                break;
            }
            if waited > STALL {
                return Err(Error::Stalled { waited, left: tasks - ended, template: self.template.key.clone() });
            }
        }
        let submissions = load.join();
        self.shared.check()?;
        let ends = std::mem::take(&mut *self.shared.ends());
        for submission in submissions.iter().filter(|submission| !ends.at.contains_key(&submission.task)) {
            completions::ask_for(client, submission.task)?;
        }
        Ok(Passed { kept_awake: wakefulness.share(), ..match_up(began, &submissions, &ends) })
    }
}

/// Brings together when a task was due, accepted and done.
fn match_up(began: Instant, submissions: &[Submission], ends: &Ends) -> Passed {
    let mut passed = Passed {
        took: ends.last.unwrap_or(began).saturating_duration_since(began),
        submitting: Duration::ZERO,
        submit_to_complete: Recorder::default(),
        submit_to_accepted: Recorder::default(),
        unheard: 0,
        failed: ends.failed,
        kept_awake: None,
        tasks: submissions.iter().map(|submission| submission.task).collect(),
    };
    for submission in submissions {
        passed.submitting = passed.submitting.max(submission.accepted.saturating_duration_since(began));
        passed.submit_to_accepted.add(submission.accepted.saturating_duration_since(submission.due));
        match ends.at.get(&submission.task) {
            Some(at) => passed.submit_to_complete.add(at.saturating_duration_since(submission.due)),
            None => passed.unheard += 1,
        }
    }
    passed
}

/// A template that the broker knows.
#[derive(Clone, Debug)]
struct RegisteredTemplate {
    /// `namespace/name@version`.
    key: String,
    namespace: String,
    name: String,
    version: String,
    steps: u64,
}

fn register(client: &mut Client, shape: &Shape) -> Result<RegisteredTemplate, Error> {
    let (yaml, source) = (shape.yaml(), shape.to_string());
    let command = RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: Some(source) };
    let registered = client.request(command)?;
    let split = registered.template.split_once('/').zip(registered.template.rsplit_once('@'));
    let Some(((namespace, rest), (_, version))) = split else {
        return Err(Error::Task(format!("`{}` is no key of a template", registered.template)));
    };
    Ok(RegisteredTemplate {
        namespace: namespace.to_owned(),
        name: rest.trim_end_matches(version).trim_end_matches('@').to_owned(),
        version: version.to_owned(),
        steps: u64::try_from(registered.steps.len()).unwrap_or(u64::MAX),
        key: registered.template,
    })
}

fn health(client: &mut Client) -> Result<HealthReport, Error> {
    Ok(client.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full })?)
}
