//! When a failed step is tried again: the template's backoff, or what the handler asked for.
//! Randomness and the time of day are arguments.

use std::time::UNIX_EPOCH;

/// Longest wait that a handler may ask for. A day covers quotas that reset at midnight; a longer wait is more likely
/// a mistake in a date, and would hide the step from everybody who watches for stuck work.
pub const RETRY_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Width of the jitter on either side, in percent.
const JITTER_PERCENT: u64 = 10;

/// How the delay grows from attempt to attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackoffKind {
    /// Doubles each time.
    Exponential,
    /// Grows by the base each time.
    Linear,
    /// Stays at the base.
    Fixed,
}

/// The delay before the next attempt when the handler did not ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// How it grows.
    pub kind: BackoffKind,
    /// Delay after the first attempt.
    pub base_ms: u64,
    /// No delay is longer.
    pub cap_ms: u64,
}

impl Default for Backoff {
    /// Exponential from 1 s to 300 s.
    fn default() -> Backoff {
        Backoff { kind: BackoffKind::Exponential, base_ms: 1_000, cap_ms: 300_000 }
    }
}

impl Backoff {
    /// The wait after `attempt` (from 1) has failed, spread by 10 % with the random number `jitter` and never above
    /// the cap. At the cap the spread folds downwards: steps that failed together must not all return in one moment.
    pub fn delay_ms(&self, attempt: u32, jitter: u64) -> u64 {
        let grown = match self.kind {
            BackoffKind::Exponential => {
                let doublings = attempt.saturating_sub(1);
                if doublings >= 64 { u128::MAX } else { u128::from(self.base_ms) << doublings }
            }
            BackoffKind::Linear => u128::from(self.base_ms) * u128::from(attempt.max(1)),
            BackoffKind::Fixed => u128::from(self.base_ms),
        };
        let grown = if self.base_ms == 0 { 0 } else { u64::try_from(grown).unwrap_or(u64::MAX).min(self.cap_ms) };
        let width = grown / 100 * JITTER_PERCENT + grown % 100 * JITTER_PERCENT / 100;
        let up = jitter & 1 == 1;
        // The lowest bit chose the side; the others choose the distance.
        let distance = (jitter >> 1) % (width + 1);
        let room = self.cap_ms - grown.min(self.cap_ms);
        if up && distance <= room { grown + distance } else { grown - distance }
    }
}

/// Reads what a handler or an HTTP service said about when to come back: seconds (`2`, `0.5`) or an HTTP date in any
/// of its three forms, relative to the wall clock `now_wall_ms` (Unix time).
/// The wait is rounded up to a millisecond, is zero for a
/// date in the past, and at most [`RETRY_AFTER_MS_MAX`]. `None` when the text is neither.
pub fn parse_retry_after(text: &str, now_wall_ms: i64) -> Option<u64> {
    let text = text.trim();
    let wait_ms = match parse_seconds(text) {
        Some(wait_ms) => wait_ms,
        None => {
            let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            let date_ms = i64::try_from(date.as_millis()).ok()?;
            u64::try_from(date_ms.saturating_sub(now_wall_ms)).unwrap_or(0)
        }
    };
    Some(wait_ms.min(RETRY_AFTER_MS_MAX))
}

/// Milliseconds of a plain decimal number of seconds: digits, at most one point, no sign, no exponent.
fn parse_seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || fraction.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Only too many digits are left to fail, and so many seconds are beyond the cap anyway.
    let whole_ms = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000);
    let digit = |index: usize| fraction.as_bytes().get(index).map_or(0, |byte| u64::from(byte - b'0'));
    let rest = fraction.bytes().skip(3).any(|byte| byte != b'0');
    Some(whole_ms.saturating_add(digit(0) * 100 + digit(1) * 10 + digit(2) + u64::from(rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Backoff, BackoffKind, RETRY_AFTER_MS_MAX, parse_retry_after};

    /// 2015-10-21 07:28:00 UTC.
    const THEN_MS: i64 = 1_445_412_480_000;

    fn kinds() -> impl Strategy<Value = BackoffKind> {
        prop::sample::select(vec![BackoffKind::Exponential, BackoffKind::Linear, BackoffKind::Fixed])
    }

    proptest! {
        #[test]
        fn the_delay_stays_within_ten_percent_and_the_cap(
            kind in kinds(),
            base_ms in prop_oneof![0u64..100_000, any::<u64>()],
            cap_ms in prop_oneof![0u64..1_000_000, any::<u64>()],
            attempt in prop_oneof![1u32..12, any::<u32>()],
            jitter: u64,
        ) {
            let delay = u128::from(Backoff { kind, base_ms, cap_ms }.delay_ms(attempt, jitter));
            let factor = match kind {
                BackoffKind::Exponential => 1u128 << (attempt.max(1) - 1).min(63),
                BackoffKind::Linear => u128::from(attempt.max(1)),
                BackoffKind::Fixed => 1,
            };
            let plain = (u128::from(base_ms) * factor).min(u128::from(cap_ms));
            prop_assert!(delay <= u128::from(cap_ms), "{delay} above the cap {cap_ms}");
            prop_assert!(delay * 10 <= plain * 11, "{delay} above {plain} + 10 %");
            prop_assert!(delay * 10 >= plain * 9, "{delay} below {plain} - 10 %");
        }

        #[test]
        fn any_text_is_read_or_refused(text: String, now: i64) {
            if let Some(wait) = parse_retry_after(&text, now) {
                prop_assert!(wait <= RETRY_AFTER_MS_MAX);
            }
        }

        #[test]
        fn seconds_with_a_fraction_are_exact(ms in 0u64..RETRY_AFTER_MS_MAX) {
            prop_assert_eq!(parse_retry_after(&format!("{}.{:03}", ms / 1000, ms % 1000), 0), Some(ms));
        }
    }

    #[test]
    fn the_spread_reaches_both_ends_and_folds_at_the_cap() {
        let spread = |attempt| {
            let delays: Vec<u64> = (0..100_000).map(|jitter| Backoff::default().delay_ms(attempt, jitter)).collect();
            (delays.iter().min().copied(), delays.iter().max().copied())
        };
        assert_eq!(spread(1), (Some(900), Some(1_100)));
        assert_eq!(spread(4), (Some(7_200), Some(8_800)));
        assert_eq!(spread(40), (Some(270_000), Some(300_000)));
        let at_the_cap = (0..1_000).filter(|&jitter| Backoff::default().delay_ms(40, jitter * 7919) == 300_000).count();
        assert!(at_the_cap < 10, "{at_the_cap} of 1,000 at the cap itself");
    }

    #[test]
    fn seconds_and_dates_are_understood_and_the_rest_is_not() {
        for (text, expected) in [
            ("2", Some(2_000)),
            ("0.5", Some(500)),
            (" 1.25 ", Some(1_250)),
            ("0.0001", Some(1)),
            ("0", Some(0)),
            ("86401", Some(RETRY_AFTER_MS_MAX)),
            ("99999999999999999999999", Some(RETRY_AFTER_MS_MAX)),
            ("Wed, 21 Oct 2015 07:28:02 GMT", Some(2_000)),
            ("Wednesday, 21-Oct-15 07:28:02 GMT", Some(2_000)),
            ("Wed Oct 21 07:28:02 2015", Some(2_000)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("Wed, 21 Oct 2065 07:28:00 GMT", Some(RETRY_AFTER_MS_MAX)),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("1.", None),
            (".5", None),
            ("1.2.3", None),
            ("", None),
            ("soon", None),
            ("٣", None),
        ] {
            assert_eq!(parse_retry_after(text, THEN_MS), expected, "{text:?}");
        }
    }
}
