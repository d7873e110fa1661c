//! Keeps what strangers can cause from filling the log.

use std::time::{Duration, Instant};

/// Lines of one kind that are written in one [`WINDOW`]: enough to see what happens, whoever makes it happen.
const LINES_MAX: u32 = 10;
/// See there.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines of one kind.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    window: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// Whether a line is to be written now: with how many were left out since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.window = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_of_later() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        let written = (0..1_000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(written, LINES_MAX as usize);
        assert_eq!(limit.admit(start + WINDOW), Some(1_000 - u64::from(LINES_MAX)));
        assert_eq!(limit.admit(start + WINDOW), Some(0));
    }
}
