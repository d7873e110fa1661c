//! Times and durations as people write and read them: RFC 3339 in UTC, `500ms`, `5s`, `2m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MS_A_DAY: i64 = 86_400_000;

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

fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(digits);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let fraction_ms = digits(format!("{fraction:0<3}").get(..3)?)?;
    let days_in_month = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = hour * 60 + minute - offset_minutes;
    Some(days_from_civil(year, month, day) * MS_A_DAY + minutes * 60_000 + second * 1_000 + fraction_ms)
}

fn digits(text: &str) -> Option<i64> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// `2026-01-31T08:00:00.123Z`.
pub(super) fn format_ms(ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(MS_A_DAY));
    let rest = ms.rem_euclid(MS_A_DAY);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1_000)
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

/// Days since 1970-01-01 of a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse, from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
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
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -200 * 366..200 * 366 {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), day);
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
