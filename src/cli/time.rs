//! Times and durations as people write and read them: RFC 3339 in UTC, `500ms`, `5s`, `2m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) use crate::time::format_ms;
use crate::time::parse_rfc3339;

/// A number with a unit; seconds without one.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{unit}` is none of the units ms, s, m, h, d")),
    };
    let number: f64 =
        number.parse().map_err(|_| "expected a number and a unit, for example 500ms, 5s, 2m".to_owned())?;
    // A year bounds what is added to a clock.
    if number * scale > 366.0 * 86_400.0 {
        return Err("longer than a year".to_owned());
    }
    Ok(Duration::from_secs_f64(number * scale))
}

/// `+DURATION` from now, or a time with its offset; in milliseconds since the Unix epoch.
pub(super) fn parse_when(text: &str) -> Result<i64, String> {
    match text.strip_prefix('+') {
        Some(delay) => {
            let delay_ms = i64::try_from(parse_duration(delay)?.as_millis()).unwrap_or(i64::MAX);
            Ok(now_ms().saturating_add(delay_ms))
        }
        None => parse_rfc3339(text)
            .ok_or_else(|| "expected a time such as 2026-01-31T08:00:00Z, or +30s from now".to_owned()),
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Three digits of the largest unit that fits: `850 µs`, `12.3 ms`, `4.56 s`, `2 m 05 s`, `3 h 04 m`.
pub(super) fn format_us(us: u64) -> String {
    match us {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", us as f64 / 1e6),
        60_000_000..3_600_000_000 => format!("{} m {:02} s", us / 60_000_000, us / 1_000_000 % 60),
        _ => format!("{} h {:02} m", us / 3_600_000_000, us / 60_000_000 % 60),
    }
}

/// The time from one moment to another, or a dash while the second is missing.
pub(super) fn format_between(from_ms: i64, to_ms: Option<i64>) -> String {
    let Some(to_ms) = to_ms else { return "-".to_owned() };
    format_us(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_milliseconds_and_back() {
        for (text, ms, shown) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
            ("2000-02-29T23:59:59.5Z", 951_868_799_500, "2000-02-29T23:59:59.500Z"),
            ("2026-01-31T08:00:00+01:30", 1_769_841_000_000, "2026-01-31T06:30:00.000Z"),
            ("1969-12-31 19:00:00.123456-05:00", 123, "1970-01-01T00:00:00.123Z"),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse_when(text), Ok(ms), "{text}");
            assert_eq!(format_ms(ms), shown);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-01-31",
            "2026-01-31T08:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00+1",
            "2026-01-01T00:00:00.é0Z",
            "+",
            "+5x",
        ] {
            assert!(parse_when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("500ms", 500), ("5", 5_000), ("5s", 5_000), ("1.5m", 90_000), ("2h", 7_200_000), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "5 s", "1.2.3s", "400d", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_with_three_digits() {
        for (us, text) in [
            (850, "850 µs"),
            (12_345, "12.3 ms"),
            (4_560_000, "4.56 s"),
            (125_000_000, "2 m 05 s"),
            (11_040_000_000, "3 h 04 m"),
        ] {
            assert_eq!(format_us(us), text);
        }
        assert_eq!(format_between(5, None), "-");
        assert_eq!(format_between(5_000, Some(9_560)), "4.56 s");
    }
}
