//! Submits tasks: as many as are in the air at once, or at a rate that waits for nobody.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Error, Options, RegisteredTemplate, Shared, Target};
use crate::client::{self, Client};
use crate::protocol::{InitializeTask, JsonText, TaskRequest};

/// A submitter that waits looks so often whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// A refused submission is sent again after this time, unless the broker names another one.
const AGAIN: Duration = Duration::from_millis(100);

/// When tasks are submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as so many unfinished tasks allow: one that ends makes room for the next. Says what the broker can do.
    InFlight(u64),
    /// So many tasks a second, however long they take. A task that is submitted late, because the broker was not ready for
    /// it, counts from when it was due; so no wait is left out of the latencies (no coordinated omission).
    Rate(f64),
}

impl Default for Pace {
    /// Enough that the broker never waits for tasks, few enough that they do not wait for long.
    fn default() -> Pace {
        Pace::InFlight(4_000)
    }
}

/// A task that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission {
    pub task: Uuid,
    /// When it should have been submitted.
    pub due: Instant,
    /// When its acceptance was heard.
    pub accepted: Instant,
}

/// Threads that submit.
pub(super) struct Load {
    threads: Vec<JoinHandle<Vec<Submission>>>,
}

impl Load {
    pub(super) fn start(
        options: &Options,
        template: &RegisteredTemplate,
        tasks: u64,
        pace: Pace,
        shared: &Arc<Shared>,
    ) -> Load {
        let schedule = Arc::new(Schedule { pace, tasks, taken: AtomicU64::new(0), began: Instant::now() });
        let request = TaskRequest {
            namespace: template.namespace.clone(),
            name: template.name.clone(),
            version: Some(template.version.clone()),
            context: JsonText::new(format!("{{\"filler\":\"{}\"}}", "x".repeat(options.context_bytes))),
            ..TaskRequest::default()
        };
        let submitter = Submitter {
            target: options.target.clone(),
            request,
            per_message: u64::try_from(options.tasks_per_message.max(1)).unwrap_or(u64::MAX),
            schedule,
            shared: shared.clone(),
        };
        let start = |submitter: Submitter| std::thread::spawn(move || submitter.run());
        Load { threads: (0..options.submitters.max(1)).map(|_| start(submitter.clone())).collect() }
    }

    /// Waits for the submitters; what they have submitted.
    pub(super) fn join(self) -> Vec<Submission> {
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    }
}

/// Which tasks may be submitted now.
#[derive(Debug)]
struct Schedule {
    pace: Pace,
    tasks: u64,
    /// Tasks that a submitter has taken.
    taken: AtomicU64,
    began: Instant,
}

/// Tasks that may be submitted.
enum Due {
    /// Numbers of tasks.
    Tasks(Range<u64>),
    /// None before so many have ended.
    AfterEnds(u64),
    /// None before this time.
    At(Instant),
    /// Another submitter was quicker.
    Again,
    /// All were taken.
    Over,
}

impl Schedule {
    /// Takes tasks that are due, at most so many.
    fn take(&self, most: u64, ended: u64) -> Due {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken >= self.tasks {
            return Due::Over;
        }
        let due = match self.pace {
            Pace::InFlight(in_flight) => {
                let in_flight = in_flight.max(1);
                // As many as a message takes, if so many may be in the air.
                let wanted = (taken + most.min(in_flight)).min(self.tasks);
                if ended + in_flight < wanted {
                    return Due::AfterEnds(wanted - in_flight);
                }
                ended + in_flight
            }
            // The first one is due at once.
            Pace::Rate(rate) => {
                let due = 1 + (self.began.elapsed().as_secs_f64() * rate) as u64;
                if due <= taken {
                    return Due::At(self.began + Duration::from_secs_f64(taken as f64 / rate));
                }
                due
            }
        };
        let until = due.min(self.tasks).min(taken + most);
        match self.taken.compare_exchange(taken, until, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Due::Tasks(taken..until),
            Err(_) => Due::Again,
        }
    }

    /// When a task was to be submitted; as soon as it could be, unless there is a rate.
    fn due(&self, task: u64, now: Instant) -> Instant {
        match self.pace {
            Pace::InFlight(_) => now,
            Pace::Rate(rate) => self.began + Duration::from_secs_f64(task as f64 / rate),
        }
    }
}

#[derive(Clone)]
struct Submitter {
    target: Target,
    request: TaskRequest,
    per_message: u64,
    schedule: Arc<Schedule>,
    shared: Arc<Shared>,
}

impl Submitter {
    fn run(self) -> Vec<Submission> {
        let mut submissions = Vec::new();
        if let Err(error) = self.submit_all(&mut submissions) {
            self.shared.fail(error);
        }
        submissions
    }

    fn submit_all(&self, submissions: &mut Vec<Submission>) -> Result<(), Error> {
        let Target { work, keys, timeout, .. } = &self.target;
        let mut client = Client::connect_with(work, keys.as_ref(), *timeout)?;
        let mut most = self.per_message;
        while !self.shared.is_over() {
            let due = self.schedule.take(most, self.shared.ended.get());
            most = self.per_message;
            match due {
                Due::Over => break,
                // Events of ends may be lost, and then so many never come: what there is has to do.
                Due::AfterEnds(count) if !self.shared.ended.wait_for(count, LOOK) => most = 1,
                Due::AfterEnds(_) => {}
                Due::At(time) => std::thread::sleep(time.saturating_duration_since(Instant::now()).min(LOOK)),
                Due::Again => {}
                Due::Tasks(tasks) => self.submit(&mut client, tasks, submissions)?,
            }
        }
        Ok(())
    }

    fn submit(&self, client: &mut Client, tasks: Range<u64>, submissions: &mut Vec<Submission>) -> Result<(), Error> {
        let now = Instant::now();
        let requests: Vec<TaskRequest> = tasks.clone().map(|_| self.request.clone()).collect();
        let initialized = loop {
            match client.request(InitializeTask { correlation_id: Uuid::nil(), tasks: requests.clone() }) {
                // An overloaded broker says so; the wait counts.
                Err(client::Error::Refused(refusal)) if refusal.retryable && !self.shared.is_over() => {
                    std::thread::sleep(refusal.retry_after_ms.map_or(AGAIN, Duration::from_millis));
                }
                answer => break answer?,
            }
        };
        let accepted = Instant::now();
        for (number, outcome) in tasks.clone().zip(initialized.tasks) {
            let Some(task) = outcome.task_id else {
                return Err(Error::Task(outcome.error.map_or_else(String::new, |error| error.message)));
            };
            submissions.push(Submission { task, due: self.schedule.due(number, now), accepted });
        }
        self.shared.submitted.fetch_add(tasks.end - tasks.start, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pace: Pace, tasks: u64, began: Instant) -> Schedule {
        Schedule { pace, tasks, taken: AtomicU64::new(0), began }
    }

    fn taken(due: Due) -> Option<Range<u64>> {
        match due {
            Due::Tasks(tasks) => Some(tasks),
            Due::AfterEnds(_) | Due::At(_) | Due::Again | Due::Over => None,
        }
    }

    #[test]
    fn never_more_are_in_the_air_than_allowed() {
        let schedule = schedule(Pace::InFlight(5), 8, Instant::now());
        assert_eq!(taken(schedule.take(3, 0)), Some(0..3));
        assert!(matches!(schedule.take(3, 0), Due::AfterEnds(1)), "two have room, and a message takes three");
        assert_eq!(taken(schedule.take(3, 2)), Some(3..6));
        assert!(matches!(schedule.take(3, 2), Due::AfterEnds(3)), "there are no more than two left");
        assert_eq!(taken(schedule.take(3, 6)), Some(6..8));
        assert!(matches!(schedule.take(3, 8), Due::Over));
    }

    #[test]
    fn a_message_is_not_waited_for_that_could_not_be_in_the_air() {
        let schedule = schedule(Pace::InFlight(2), 8, Instant::now());
        assert_eq!(taken(schedule.take(5, 0)), Some(0..2));
        assert!(matches!(schedule.take(5, 0), Due::AfterEnds(2)));
        assert_eq!(taken(schedule.take(5, 2)), Some(2..4));
    }

    #[test]
    fn a_rate_waits_for_nobody_and_counts_from_when_a_task_was_due() {
        let began = Instant::now() - Duration::from_secs(2);
        let schedule = schedule(Pace::Rate(10.0), 1_000, began);
        let Some(tasks) = taken(schedule.take(100, 0)) else { panic!("they are due") };
        assert!(tasks.start == 0 && tasks.end >= 21, "{tasks:?}");
        assert_eq!(schedule.due(10, Instant::now()), began + Duration::from_secs(1));
        let next = schedule.due(tasks.end, began);
        assert!(matches!(schedule.take(100, 0), Due::At(time) if time == next));
    }
}
