//! The last hours, a slot a minute: 24 hours take some 140 KB, whatever happens in them. An idle broker is not woken for it:
//! minutes in which nothing happened are filled in with the next event or look.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tasker_engine::{Mark, StepEnd};

use super::TASK_ENDS;
use super::numbers::end_of;
use crate::server::distribution::Distribution;

/// Minutes that are kept: a day, which is what an overview shows.
pub const MINUTES: usize = 24 * 60;

const MINUTE_SECONDS: u64 = 60;

/// What happened within a minute, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Its beginning, in seconds since the Unix epoch, as the wall clock is set when it is asked for.
    pub starts_at: u64,
    /// Tasks that were made.
    pub tasks_created: u32,
    /// Tasks that ended, in the order of [`TASK_ENDS`].
    pub tasks_ended: [u32; TASK_ENDS.len()],
    /// Steps that were handed out.
    pub steps_dispatched: u32,
    /// Steps that were settled, and attempts that ended, in the order of [`StepEnd::ALL`].
    pub steps_ended: [u32; StepEnd::ALL.len()],
    /// How long half of the dispatched steps were ready at most, and 99 in 100 of them, in microseconds. Up to an eighth
    /// more than the exact figure; 0 when there were none.
    pub queued_us: [u64; 2],
    /// How long half of the handlers ran at most, and 99 in 100 of them, in the same way.
    pub ran_us: [u64; 2],
    /// Steps that were ready at its end.
    pub steps_ready: u64,
    /// Steps that were with workers at its end.
    pub steps_in_progress: u64,
}

/// The last hours.
#[derive(Debug)]
pub(super) struct History {
    /// When the minute began in which counting began.
    began: Instant,
    /// Minutes since then.
    present: u64,
    minute: Minute,
    queued_us: Distribution,
    ran_us: Distribution,
    /// Those before the present one, oldest first.
    past: VecDeque<Minute>,
    /// Steps that are ready, and with workers.
    steps: (u64, u64),
}

impl History {
    /// A history that begins with the minute of the wall clock, so that slots are what people call minutes.
    pub fn new(now: Instant) -> History {
        let into_minute = Duration::from_secs(unix_seconds() % MINUTE_SECONDS);
        History::beginning(now.checked_sub(into_minute).unwrap_or(now))
    }

    fn beginning(began: Instant) -> History {
        History {
            began,
            present: 0,
            minute: Minute::default(),
            queued_us: Distribution::default(),
            ran_us: Distribution::default(),
            past: VecDeque::with_capacity(MINUTES),
            steps: (0, 0),
        }
    }

    /// Closes the minutes that are over.
    pub fn turn_to(&mut self, now: Instant) {
        let present = now.saturating_duration_since(self.began).as_secs() / MINUTE_SECONDS;
        if present <= self.present {
            return;
        }
        let (steps_ready, steps_in_progress) = self.steps;
        let ends = |times: &Distribution| [times.quantile(0.5), times.quantile(0.99)];
        let ended = Minute {
            queued_us: ends(&self.queued_us),
            ran_us: ends(&self.ran_us),
            steps_ready,
            steps_in_progress,
            ..std::mem::take(&mut self.minute)
        };
        self.queued_us.clear();
        self.ran_us.clear();
        self.keep(ended);
        for _ in 1..(present - self.present).min(MINUTES as u64 + 1) {
            self.keep(Minute { steps_ready, steps_in_progress, ..Minute::default() });
        }
        self.present = present;
    }

    /// Counts what became durable in this minute.
    pub fn count(&mut self, mark: Mark) {
        match mark {
            Mark::TaskCreated { .. } => self.minute.tasks_created += 1,
            Mark::TaskEnded { state, .. } => {
                if let Some(end) = end_of(state) {
                    self.minute.tasks_ended[end] += 1;
                }
            }
            Mark::StepDispatched { queued_ms, .. } => {
                self.minute.steps_dispatched += 1;
                self.queued_us.add(queued_ms.saturating_mul(1_000));
            }
            Mark::StepEnded { end, ran_us, .. } => {
                self.minute.steps_ended[end as usize] += 1;
                if end.has_run() {
                    self.ran_us.add(ran_us);
                }
            }
        }
    }

    /// Steps that are ready, and with workers, from now on.
    pub fn note_steps(&mut self, now: Instant, steps: (u64, u64)) {
        if steps != self.steps {
            self.turn_to(now);
            self.steps = steps;
        }
    }

    /// All minutes that are over, oldest first, at most [`MINUTES`].
    pub fn minutes(&mut self, now: Instant) -> Vec<Minute> {
        self.turn_to(now);
        let present = unix_seconds() / MINUTE_SECONDS;
        let ago = (1..=self.past.len() as u64).rev();
        let minutes = self.past.iter().zip(ago);
        minutes
            .map(|(minute, ago)| {
                let starts_at = present.saturating_sub(ago) * MINUTE_SECONDS;
                Minute { starts_at, ..minute.clone() }
            })
            .collect()
    }

    fn keep(&mut self, minute: Minute) {
        if self.past.len() == MINUTES {
            self.past.pop_front();
        }
        self.past.push_back(minute);
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use tasker_engine::TaskState;

    use super::*;

    fn after(history: &History, seconds: u64) -> Instant {
        history.began + Duration::from_secs(seconds)
    }

    #[test]
    fn minutes_without_an_event_are_filled_in_when_somebody_looks() {
        let mut history = History::beginning(Instant::now());
        for queued_ms in [1, 1, 1, 80] {
            history.count(Mark::StepDispatched { template: 0, queued_ms });
        }
        history.count(Mark::StepEnded { template: 0, end: StepEnd::Complete, ran_us: 700 });
        history.count(Mark::StepEnded { template: 0, end: StepEnd::WorkerLost, ran_us: 0 });
        history.count(Mark::TaskEnded { template: 0, state: TaskState::Error, lived_ms: 5 });
        history.note_steps(after(&history, 59), (3, 2));
        assert_eq!(history.minutes(after(&history, 59)), [], "the minute is not over");
        history.note_steps(after(&history, 185), (0, 0));
        history.count(Mark::TaskCreated { template: 0 });
        let minutes = history.minutes(after(&history, 240));
        let [first, second, third, fourth] = &minutes[..] else { panic!("{minutes:?}") };
        assert_eq!((first.steps_dispatched, first.tasks_ended, first.tasks_created), (4, [0, 1, 0, 0], 0));
        assert_eq!(first.steps_ended, [1, 0, 0, 0, 0, 1, 0]);
        assert_eq!((first.queued_us, first.ran_us), ([1_023, 81_919], [703, 703]));
        let steps = |minute: &Minute| (minute.steps_ready, minute.steps_in_progress);
        assert_eq!((steps(first), steps(second), steps(third), steps(fourth)), ((3, 2), (3, 2), (3, 2), (0, 0)));
        let quiet = Minute { steps_ready: 3, steps_in_progress: 2, starts_at: second.starts_at, ..Minute::default() };
        assert_eq!((second, fourth.tasks_created), (&quiet, 1));
        assert_eq!(second.starts_at - first.starts_at, 60);
    }

    #[test]
    fn no_more_than_a_day_is_kept() {
        let mut history = History::beginning(Instant::now());
        history.count(Mark::TaskCreated { template: 0 });
        let day = MINUTES as u64 * 60;
        let kept = history.minutes(after(&history, day));
        assert_eq!((kept.len(), kept[0].tasks_created), (MINUTES, 1));
        let kept = history.minutes(after(&history, day + 60));
        assert_eq!((kept.len(), kept[0].tasks_created), (MINUTES, 0), "the oldest has made room");
        assert_eq!(history.minutes(after(&history, 1_000 * day)).len(), MINUTES);
    }
}
