//! Many seeds on two threads, until one fails.

use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::bugs::Bug;
use crate::run::run;

/// The machines that run the tests have two cores.
const THREADS: usize = 2;

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// What the failed check says.
    pub message: String,
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual milliseconds of all of them.
    pub lasted_ms: u64,
    /// Groups that became durable.
    pub groups: u64,
    /// Replies, batches and notices that left.
    pub deliveries: u64,
    /// Tasks that were created.
    pub tasks: u64,
    /// Broker processes.
    pub brokers: u64,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// Runs so many seeds, or fewer when one fails. `prepare` is called on each thread before its first seed.
pub fn search(from: u64, count: u64, bug: Option<Bug>, prepare: impl Fn() + Sync) -> Found {
    let next = AtomicU64::new(from);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                prepare();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    let ended = std::panic::catch_unwind(|| run(seed, bug, None));
                    let mut found = found.lock().expect("nothing panics with the lock");
                    found.seeds += 1;
                    match ended {
                        Ok(summary) => {
                            found.lasted_ms += summary.lasted_ms;
                            found.groups += summary.groups;
                            found.deliveries += summary.deliveries;
                            found.tasks += summary.tasks;
                            found.brokers += summary.brokers;
                        }
                        Err(panic) => {
                            stop.store(true, Ordering::Relaxed);
                            if found.failure.as_ref().is_none_or(|known| known.seed > seed) {
                                found.failure = Some(Failure { seed, message: text(panic.as_ref()) });
                            }
                        }
                    }
                }
            });
        }
    });
    found.into_inner().expect("nothing panics with the lock")
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A number from the environment, or the one given.
pub fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}
