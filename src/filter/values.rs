//! Values that are more than text: states, ids, priorities.

use std::fmt;

use uuid::Uuid;

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$state_doc:meta])* $state:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$state_doc])* $state,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: [$name; [$($word),*].len()] = [$($name::$state),*];

            /// Their names.
            pub const NAMES: &'static [&'static str] = &[$($word),*];

            /// Its name, as everywhere else.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$state => $word,)*
                }
            }

            pub(super) fn parse(text: &str) -> Option<$name> {
                $name::ALL.into_iter().find(|state| state.name() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
}

states! {
    /// States of a task.
    TaskState {
        /// Nothing has happened yet.
        Pending = "pending",
        /// It runs.
        InProgress = "in_progress",
        /// All steps are done.
        Complete = "complete",
        /// A step failed for good.
        Error = "error",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// Done, with steps that an operator settled.
        ResolvedManually = "resolved_manually",
    }
}

states! {
    /// States of a step.
    StepState {
        /// It waits for parents, a time or a worker.
        Pending = "pending",
        /// A worker has it.
        InProgress = "in_progress",
        /// It is done.
        Complete = "complete",
        /// It failed for good.
        Error = "error",
        /// Its task was cancelled.
        Cancelled = "cancelled",
        /// Bypassed, or settled by an operator.
        ResolvedManually = "resolved_manually",
        /// An attempt failed, and another one follows.
        WaitingForRetry = "waiting_for_retry",
    }
}

/// A task id, or its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    lowest: u128,
    digits: u32,
}

/// Hexadecimal digits of an id.
const ID_DIGITS: u32 = 32;

impl IdPrefix {
    /// A whole id.
    pub fn whole(id: Uuid) -> IdPrefix {
        IdPrefix { lowest: id.as_u128(), digits: ID_DIGITS }
    }

    pub(super) fn parse(text: &str) -> Option<IdPrefix> {
        let (mut lowest, mut digits) = (0_u128, 0);
        for character in text.chars() {
            if character == '-' && digits > 0 {
                continue;
            }
            let digit = character.to_digit(16).filter(|_| digits < ID_DIGITS)?;
            lowest = lowest << 4 | u128::from(digit);
            digits += 1;
        }
        (digits > 0).then(|| IdPrefix { lowest: lowest << (4 * (ID_DIGITS - digits)), digits })
    }

    /// The first and the last id that begin like this.
    pub fn range(self) -> (Uuid, Uuid) {
        let rest = u128::MAX.checked_shr(4 * self.digits).unwrap_or(0);
        (Uuid::from_u128(self.lowest), Uuid::from_u128(self.lowest | rest))
    }

    /// The id, when all of it is there.
    pub fn id(self) -> Option<Uuid> {
        (self.digits == ID_DIGITS).then(|| Uuid::from_u128(self.lowest))
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Uuid::from_u128(self.lowest).to_string();
        let shown = whole.bytes().scan(0, |digits, byte| {
            *digits += u32::from(byte != b'-');
            Some(*digits)
        });
        let shown = &whole[..shown.take_while(|digits| *digits <= self.digits).count()];
        formatter.write_str(shown.trim_end_matches('-'))
    }
}

/// Priorities from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityRange {
    /// The lowest.
    pub from: i32,
    /// The highest; never below the lowest.
    pub to: i32,
}

impl PriorityRange {
    pub(super) fn parse(text: &str) -> Option<PriorityRange> {
        let number = |text: &str| text.parse::<i32>().ok();
        let (from, to) = if let Some(text) = text.strip_prefix(">=") {
            (number(text)?, i32::MAX)
        } else if let Some(text) = text.strip_prefix("<=") {
            (i32::MIN, number(text)?)
        } else if let Some(text) = text.strip_prefix('>') {
            (number(text)?.checked_add(1)?, i32::MAX)
        } else if let Some(text) = text.strip_prefix('<') {
            (i32::MIN, number(text)?.checked_sub(1)?)
        } else if let Some((from, to)) = text.split_once("..") {
            (number(from)?, number(to)?)
        } else {
            (number(text)?, number(text)?)
        };
        (from <= to).then_some(PriorityRange { from, to })
    }
}

impl fmt::Display for PriorityRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PriorityRange { from, to } if from == to => write!(formatter, "{from}"),
            PriorityRange { from, to: i32::MAX } => write!(formatter, ">={from}"),
            PriorityRange { from: i32::MIN, to } => write!(formatter, "<={to}"),
            PriorityRange { from, to } => write!(formatter, "{from}..{to}"),
        }
    }
}
