//! Clients that look at the broker over HTTP while it works: people with pages open, programs that listen and ask, Prometheus.
//! Whoever is refused costs the broker nothing, so that a refusal makes the figures worthless and ends the run.

mod http;
mod lines;
mod tally;
mod visitor;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use http::{Problem, Site};
use tally::Look;
pub use tally::Polled;
pub(super) use tally::Tally;

/// A question that was not answered as it should be.
#[derive(Debug, thiserror::Error)]
#[error("GET {path}: {problem}")]
pub struct PollError {
    /// What was asked for.
    pub path: String,
    /// Why there is no answer.
    pub problem: Problem,
}

impl PollError {
    fn at(path: &str, problem: Problem) -> PollError {
        PollError { path: path.to_owned(), problem }
    }
}

/// A thread with all who look, until they are told to go.
pub(super) struct Pollers {
    go: oneshot::Sender<()>,
    failed: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), PollError>>,
    tally: Arc<Tally>,
}

impl Pollers {
    /// So many of each kind: two pages open, a reader of all events, a scraper, a loop of questions.
    pub(super) fn start(site: &Site, count: usize) -> std::io::Result<Pollers> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (go, gone) = oneshot::channel();
        let (tally, failed) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let (looking, noted) = (look(Arc::new(site.clone()), tally.clone(), count), failed.clone());
        let thread = std::thread::Builder::new().name("pollers".to_owned()).spawn(move || {
            let ended = runtime.block_on(async {
                tokio::select! { failed = looking => Err(failed), _ = gone => Ok(()) }
            });
            noted.store(ended.is_err(), Ordering::Relaxed);
            ended
        })?;
        Ok(Pollers { go, failed, thread, tally })
    }

    /// Whether one of them had no answer, so that there is nothing to go on for.
    pub(super) fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sends them away; what they have counted.
    pub(super) fn stop(self) -> Result<Arc<Tally>, PollError> {
        // They may have gone by a failure, which is told here.
        let _ = self.go.send(());
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        self.tally.check()?;
        Ok(self.tally)
    }
}

/// Ends with the first failure.
async fn look(site: Arc<Site>, tally: Arc<Tally>, count: usize) -> PollError {
    let mut all = JoinSet::new();
    for _ in 0..count {
        all.spawn(visitor::open_page(site.clone(), tally.clone(), Look::Overview, "/"));
        all.spawn(visitor::open_page(site.clone(), tally.clone(), Look::Tasks, "/tasks"));
        all.spawn(visitor::listen(site.clone(), tally.clone()));
        all.spawn(visitor::scrape(site.clone(), tally.clone()));
        all.spawn(visitor::ask(site.clone(), tally.clone()));
    }
    match all.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Ok(Ok(never))) => match never {},
        Some(Err(ended)) => resume_unwind(ended.into_panic()),
        // Nobody looks, and so nobody fails.
        None => std::future::pending().await,
    }
}
