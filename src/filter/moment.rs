//! Times of a filter: absolute, or so long ago.

use std::fmt;

use crate::time::{format_ms, parse_rfc3339};

/// A time, which may depend on when the question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since the Unix epoch, from 1970 to the end of 9999.
    At(i64),
    /// So many seconds before the question.
    Ago(u64),
}

/// Longest time ago: a hundred years.
const AGO_SECONDS_MAX: u64 = 36_525 * 86_400;

/// The end of the year 9999, where dates of four digits end.
const MS_MAX: i64 = 253_402_300_799_999;

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Moment {
    pub(super) fn parse(text: &str) -> Option<Moment> {
        if let Some((unit, seconds)) = UNITS.iter().find(|(unit, _)| text.ends_with(*unit)) {
            let number = text.strip_suffix(*unit)?;
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
                let seconds = number.parse::<u64>().ok()?.checked_mul(*seconds)?;
                return (seconds <= AGO_SECONDS_MAX).then_some(Moment::Ago(seconds));
            }
        }
        parse_rfc3339(&completed(text)).filter(|ms| (0..=MS_MAX).contains(ms)).map(Moment::At)
    }

    /// Milliseconds since the Unix epoch, for a question asked at this time.
    pub fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Moment::At(ms) => ms,
            Moment::Ago(seconds) => now_ms.saturating_sub(seconds.cast_signed().saturating_mul(1_000)),
        }
    }
}

/// A time with all of its parts: midnight, no seconds and UTC are what is left out.
fn completed(text: &str) -> String {
    let Some((date, time)) = text.split_once(['T', 't']) else { return format!("{text}T00:00:00Z") };
    let (time, zone) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
    let seconds = if time.matches(':').count() == 1 { ":00" } else { "" };
    let zone = if zone.is_empty() { "Z" } else { zone };
    format!("{date}T{time}{seconds}{zone}")
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Moment::At(ms) => formatter.write_str(&format_ms(ms)),
            Moment::Ago(seconds) => {
                // Weeks are shown as days: `7d` is what people write.
                let units = UNITS[1..].iter();
                let (unit, size) = units.into_iter().find(|(_, size)| seconds % size == 0).unwrap_or(&('s', 1));
                write!(formatter, "{}{unit}", seconds / size)
            }
        }
    }
}
