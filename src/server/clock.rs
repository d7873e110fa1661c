//! The only reader of clocks: a monotonic one for deadlines, the wall clock for records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tasker_engine::{Mono, Now, Wall};

/// Time since the broker process began to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, in milliseconds.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Now { mono: Mono(mono), wall: Wall(wall) }
    }

    /// The instant of a monotonic time.
    pub fn instant(&self, mono: Mono) -> Instant {
        self.start + Duration::from_millis(mono.0)
    }
}
