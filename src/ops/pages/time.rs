//! Times and durations in words. Points in time are UTC; the script shows how long ago they are, and keeps the rest as title.

use maud::{Markup, html};

/// A point in time, in milliseconds since the Unix epoch. With JavaScript it becomes `3 min ago`.
pub fn time(at_ms: i64) -> Markup {
    let text = utc(at_ms);
    let (day, clock) = text.split_at(10);
    html! {
        time datetime={ (day) "T" (clock.trim()) "Z" } title={ (text) " UTC" } data-ago {
            (text.split('.').next().unwrap_or(&text))
        }
    }
}

/// A point in time, if there is one.
pub fn time_or_dash(at_ms: Option<i64>) -> Markup {
    at_ms.map_or_else(dash, time)
}

/// What stands where there is no value.
pub fn dash() -> Markup {
    html! { span class="muted" { "–" } }
}

/// `2026-11-26 04:23:28.123`; years beyond 9999 and before 0 are not told apart from their ends.
pub fn utc(at_ms: i64) -> String {
    const FIRST: i64 = -62_167_219_200_000;
    const LAST: i64 = 253_402_300_799_999;
    let at_ms = at_ms.clamp(FIRST, LAST);
    let (days, ms) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", ms % 1_000)
}

/// Date of a day, counted from 1970-01-01, in the Gregorian calendar: years begin in March, so that leap days are last
/// (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A duration in microseconds, with two units at most: `850 µs`, `12 ms`, `1.2 s`, `3 min 12 s`, `2 d 4 h`.
pub fn span(us: u64) -> String {
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{}.{} s", seconds, us / 100_000 % 10),
        60_000_000..3_600_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000_000..86_400_000_000 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A duration in milliseconds; negative ones, by a clock that was set, count as none.
pub fn span_ms(ms: i64) -> String {
    if ms <= 0 { "0 ms".to_owned() } else { span(ms.unsigned_abs().saturating_mul(1_000)) }
}

#[cfg(test)]
mod tests {
    use super::{span, span_ms, utc};

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at_ms, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_795_667_008_123, "2026-11-26 04:23:28.123"),
            (-1, "1969-12-31 23:59:59.999"),
            (i64::MAX, "9999-12-31 23:59:59.999"),
            (i64::MIN, "0000-01-01 00:00:00.000"),
        ] {
            assert_eq!(utc(at_ms), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (us, text) in [
            (0, "0 µs"),
            (12_345, "12 ms"),
            (1_250_000, "1.2 s"),
            (192_000_000, "3 min 12 s"),
            (7_500_000_000, "2 h 5 min"),
            (187_200_000_000, "2 d 4 h"),
        ] {
            assert_eq!(span(us), text);
        }
        assert_eq!((span_ms(-5), span_ms(1_500)), ("0 ms".to_owned(), "1.5 s".to_owned()));
    }
}
