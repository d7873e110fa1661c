//! A calendar month in UTC: what a partition holds, and what ages are rounded to.

use std::fmt;

/// A month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    month: u32,
}

impl Month {
    /// Reads `YYYY-MM`.
    pub fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let found = Month { year: year.parse().ok()?, month: month.parse().ok()? };
        (1..=12).contains(&found.month).then_some(found)
    }

    /// The month of a partition, by the end of its name: `tasks_y2026m01`.
    pub(super) fn of_partition(name: &str) -> Option<Month> {
        let (_, suffix) = name.rsplit_once("_y")?;
        let (year, month) = suffix.split_once('m')?;
        Month::parse(&format!("{year}-{month}"))
    }

    /// How the names of its partitions end.
    pub(super) fn suffix(self) -> String {
        format!("_y{:04}m{:02}", self.year, self.month)
    }

    /// The one after.
    pub fn next(self) -> Month {
        match self.month {
            12 => Month { year: self.year + 1, month: 1 },
            month => Month { year: self.year, month: month + 1 },
        }
    }

    /// Its first day, for Postgres.
    pub(super) fn first_day(self) -> String {
        format!("{self}-01")
    }

    /// Its beginning, for Postgres.
    pub(super) fn start(self) -> String {
        format!("timestamptz '{self}-01 00:00:00+00'")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_from_the_name_of_its_partition() {
        let month = Month::of_partition("step_outcomes_y2025m12").expect("a partition");
        assert_eq!((month.to_string(), month.next().to_string()), ("2025-12".into(), "2026-01".into()));
        assert_eq!(month.suffix(), "_y2025m12");
        assert_eq!(month.start(), "timestamptz '2025-12-01 00:00:00+00'");
        for name in ["tasks_default", "tasks_y2025m13", "tasks_y2025m01_kept", "tasks"] {
            assert_eq!(Month::of_partition(name), None, "{name}");
        }
    }
}
