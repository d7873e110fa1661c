//! What is wrong with a filter, and where.

use std::fmt;

use super::{FILTER_BYTES_MAX, PATH_PARTS_MAX, VALUES_MAX};

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, at character {position} of the filter")]
pub struct Error {
    /// The character at which what is wrong begins, from 1.
    pub position: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a filter. Texts of its author are cut to `QUOTED_CHARS_MAX` characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It has more bytes than allowed.
    TooLong,
    /// It has more values than allowed.
    TooManyValues,
    /// A path has more parts than allowed.
    PathTooLong,
    /// There is no such key.
    UnknownKey {
        /// What stands before the colon.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// The key knows only some values, and this is none of them.
    UnknownValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What may stand there.
        allowed: &'static [&'static str],
    },
    /// Nothing stands where a value should.
    MissingValue {
        /// The key; empty for free text.
        key: String,
    },
    /// The value is not what the key takes.
    BadValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The key may stand there only once.
    Repeated {
        /// The key.
        key: &'static str,
    },
    /// The key cannot be negated.
    NotNegatable {
        /// The key.
        key: &'static str,
        /// What says the opposite.
        instead: &'static str,
    },
    /// A quote without its end.
    UnclosedQuote,
    /// Something follows a closing quote at once.
    AfterQuote,
    /// A character that no value can have.
    Nul,
}

/// Longest part of a filter that an error repeats.
pub const QUOTED_CHARS_MAX: usize = 60;

/// A part of the filter, short enough to be repeated.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::TooLong => write!(formatter, "the filter has more than {FILTER_BYTES_MAX} bytes"),
            Problem::TooManyValues => write!(formatter, "the filter has more than {VALUES_MAX} values"),
            Problem::PathTooLong => write!(formatter, "the path has more than {PATH_PARTS_MAX} parts"),
            Problem::UnknownKey { key, nearest: Some(nearest) } => {
                write!(formatter, "`{key}` is no key; did you mean `{nearest}`?")
            }
            Problem::UnknownKey { key, nearest: None } => {
                write!(formatter, "`{key}` is no key; put text with a colon in quotes")
            }
            Problem::UnknownValue { key, value, allowed } => {
                write!(formatter, "`{value}` is no value of `{key}`, which is one of {}", allowed.join(", "))
            }
            Problem::MissingValue { key } if key.is_empty() => formatter.write_str("a text is missing"),
            Problem::MissingValue { key } => write!(formatter, "`{key}` lacks its value"),
            Problem::BadValue { key, value, expected } => {
                write!(formatter, "`{key}` takes {expected}, not `{value}`")
            }
            Problem::Repeated { key } => write!(formatter, "`{key}` is there twice"),
            Problem::NotNegatable { key, instead } => {
                write!(formatter, "`{key}` cannot be negated; use `{instead}`")
            }
            Problem::UnclosedQuote => formatter.write_str("the quote has no end"),
            Problem::AfterQuote => formatter.write_str("a blank is missing after the quote"),
            Problem::Nul => formatter.write_str("NUL is in no value"),
        }
    }
}
