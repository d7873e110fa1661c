//! What those who look have asked, and how long answers took.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::PollError;
use super::http::Problem;
use super::lines::Heard;
use crate::bench::distribution::{Latency, Recorder};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Overview,
    Tasks,
    Metrics,
    Api,
}

impl Look {
    const ALL: [Look; 4] = [Look::Overview, Look::Tasks, Look::Metrics, Look::Api];

    /// An address of it.
    const fn path(self) -> &'static str {
        match self {
            Look::Overview => "/",
            Look::Tasks => "/tasks",
            Look::Metrics => "/metrics",
            Look::Api => "/api/v1",
        }
    }
}

/// What was asked and answered while there were clients that poll.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Polled {
    /// The page with the overview.
    pub overview: Latency,
    /// The page with the list of tasks.
    pub tasks: Latency,
    /// Scrapes.
    pub metrics: Latency,
    /// Questions to the API.
    pub api: Latency,
    /// Events that came by streams, by all of them together.
    pub events: u64,
    /// Events that the broker left out, as it said.
    pub events_lost: u64,
}

/// Counts for all who look.
#[derive(Default)]
pub(in crate::bench) struct Tally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    answers: [Recorder; Look::ALL.len()],
    heard: Heard,
}

impl Tally {
    /// Waits for an answer, and counts it.
    pub(super) async fn time<T>(
        &self,
        look: Look,
        answer: impl Future<Output = Result<T, PollError>>,
    ) -> Result<T, PollError> {
        let asked = Instant::now();
        let answer = answer.await?;
        self.counted().answers[look as usize].add(asked.elapsed());
        Ok(answer)
    }

    pub(super) fn heard(&self, heard: Heard) {
        let mut counted = self.counted();
        counted.heard.events += heard.events;
        counted.heard.lost += heard.lost;
        counted.heard.task = heard.task.or(counted.heard.task);
    }

    pub(super) fn newest_task(&self) -> Option<Uuid> {
        self.counted().heard.task
    }

    /// Adds what another has counted.
    pub(in crate::bench) fn add(&self, other: &Tally) {
        let (mut counted, other) = (self.counted(), other.counted());
        counted.answers.iter_mut().zip(&other.answers).for_each(|(mine, others)| mine.merge(others));
        counted.heard.events += other.heard.events;
        counted.heard.lost += other.heard.lost;
    }

    /// Whatever was never answered makes the figures worthless: nothing was looked at.
    pub(super) fn check(&self) -> Result<(), PollError> {
        let counted = self.counted();
        let unasked = Look::ALL.into_iter().find(|look| counted.answers[*look as usize].is_empty());
        unasked.map_or(Ok(()), |look| Err(PollError::at(look.path(), Problem::Unasked)))
    }

    pub(in crate::bench) fn polled(&self) -> Polled {
        let counted = self.counted();
        let of = |look: Look| counted.answers[look as usize].latency();
        Polled {
            overview: of(Look::Overview),
            tasks: of(Look::Tasks),
            metrics: of(Look::Metrics),
            api: of(Look::Api),
            events: counted.heard.events,
            events_lost: counted.heard.lost,
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
