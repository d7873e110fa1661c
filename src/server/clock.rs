//! The only reader of clocks: a monotonic one for deadlines, the wall clock for records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tasker_engine::{Mono, Now, Wall};

/// For so long time goes on while a group commits; then it stands still until the commit is through. Far more than a
/// commit takes, and a small part of the shortest timeout that makes sense.
const COMMIT_MAX: Duration = Duration::from_millis(100);

/// Time since the broker process began to work, without the time for which nothing could be made durable: a batch leaves
/// when its commit is through, and what has not left must not time out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Moves ahead by the time for which the clock has stood still.
    start: Instant,
    /// When it stands still, unless the commit is through by then.
    stop: Option<Instant>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now(), stop: None }
    }

    /// Both clocks, in milliseconds.
    pub fn now(&self) -> Now {
        let elapsed = self.stop.unwrap_or_else(Instant::now).min(Instant::now()).duration_since(self.start);
        let mono = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Now { mono: Mono(mono), wall: Wall(wall) }
    }

    /// The instant of a monotonic time; nothing when the clock stands still before it.
    pub fn instant(&self, mono: Mono) -> Option<Instant> {
        let instant = self.start + Duration::from_millis(mono.0);
        Some(instant).filter(|instant| self.stop.is_none_or(|stop| *instant <= stop))
    }

    /// A commit begins.
    pub fn commit_begun(&mut self) {
        self.stop = Some(Instant::now() + COMMIT_MAX);
    }

    /// The commit is through, or refused: time goes on from where it stood.
    pub fn commit_ended(&mut self) {
        if let Some(stop) = self.stop.take() {
            self.start += Instant::now().saturating_duration_since(stop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was started and stopped this long ago.
    fn clock(started_ms: u64, stop_ms: Option<u64>) -> Clock {
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).expect("the machine has run for a while");
        Clock { start: ago(started_ms), stop: stop_ms.map(ago) }
    }

    #[test]
    fn time_stands_still_in_a_commit_that_hangs_and_goes_on_from_there() {
        let mut clock = clock(5_000, Some(3_000));
        assert_eq!(clock.now().mono, Mono(2_000));
        assert_eq!(clock.instant(Mono(2_001)), None, "it would be in the past, and never come");
        assert!(clock.instant(Mono(2_000)).is_some());
        clock.commit_ended();
        let mono = clock.now().mono;
        assert!((2_000..5_000).contains(&mono.0), "{mono:?}");
        assert!(clock.instant(Mono(2_001)).is_some());
    }

    #[test]
    fn a_commit_in_time_costs_no_time() {
        let mut clock = clock(5_000, None);
        clock.commit_begun();
        let before = clock.start;
        clock.commit_ended();
        assert_eq!(clock.start, before);
    }
}
