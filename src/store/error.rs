//! What can go wrong with the database, sorted by what the caller has to do about it.

use std::time::Duration;

use uuid::Uuid;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another broker owns the lane and lives. Try again when the lease runs out.
    #[error("lane {lane} is owned by broker {owner}, whose lease has {remaining_ms} ms left")]
    Held {
        /// The lane.
        lane: i16,
        /// Its owner.
        owner: Uuid,
        /// What is left of the lease, by the database clock.
        remaining_ms: i64,
    },
    /// Another broker took the lane over: nothing was written, and nothing can be any more.
    #[error("lane {lane} was taken over: epoch {epoch} is no longer the owner's")]
    LostLease {
        /// The lane.
        lane: i16,
        /// The epoch under which this writer wrote.
        epoch: i64,
    },
    /// Postgres refuses what is in the group, and will refuse it again. Nothing of the group was written.
    #[error("refused by the database ({sqlstate}): {message}")]
    Refused {
        /// The SQLSTATE.
        sqlstate: String,
        /// What Postgres says.
        message: String,
        /// The constraint at fault.
        constraint: Option<String>,
    },
    /// The database is away, full, or busy beyond reason. For a commit this means that its outcome is not known.
    #[error("the database is unavailable: {message}")]
    Unavailable {
        /// The SQLSTATE, when the database was able to say one.
        sqlstate: Option<String>,
        /// What happened.
        message: String,
    },
    /// The database is there but does not fit: a missing table or right, a wrong password or name. Needs a person.
    #[error("the database cannot be used: {message}")]
    Unusable {
        /// The SQLSTATE, when the database said one.
        sqlstate: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// A list took longer than its statements may. A narrower filter, a shorter page or a calmer hour will do.
    #[error("the database did not answer within {} s; narrow the filter or try again later", limit.as_secs())]
    TooSlow {
        /// What a statement may take.
        limit: Duration,
    },
    /// The migrations could not be run.
    #[error("failed to migrate the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl Error {
    /// An error of the connection itself, so that the fate of what was under way is unknown.
    pub(super) fn unavailable(message: impl Into<String>) -> Error {
        Error::Unavailable { sqlstate: None, message: message.into() }
    }

    /// No answer, so that the fate of what was under way is unknown.
    pub fn silent(waited: Duration) -> Error {
        Error::unavailable(format!("no answer within {} s", waited.as_secs_f32()))
    }

    /// Rows that this program cannot have written.
    pub(super) fn corrupt(message: impl Into<String>) -> Error {
        Error::Unusable { sqlstate: None, message: message.into() }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Configuration(_)
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::TypeNotFound { .. } => Error::corrupt(error.to_string()),
                _ => Error::unavailable(error.to_string()),
            };
        };
        let message = database.message().to_owned();
        let constraint = database.constraint().map(str::to_owned);
        let sqlstate = database.code().map(|code| code.into_owned()).unwrap_or_default();
        sort(sqlstate, message, constraint)
    }
}

/// What to do about an error of the server follows from the class of its code.
fn sort(sqlstate: String, message: String, constraint: Option<String>) -> Error {
    match sqlstate.get(..2).unwrap_or_default() {
        // Connection, state of the session or transaction (read only after a failover, idle for too long), lost
        // statement or cursor, conflict with another transaction, disk or memory full, lock not free, shut down or
        // cancelled, failed files, and what Postgres finds wrong with itself.
        "08" | "0B" | "25" | "26" | "34" | "40" | "53" | "55" | "57" | "58" | "F0" | "XX" => {
            Error::Unavailable { sqlstate: Some(sqlstate), message }
        }
        // Bad password or role, no such database, syntax or missing object or right, unsupported feature.
        "28" | "3D" | "3F" | "42" | "0A" => Error::Unusable { sqlstate: Some(sqlstate), message },
        // Data exception, integrity violation, program limit (a value too large), and whatever a trigger raises: codes
        // that Postgres does not know included.
        _ => Error::Refused { sqlstate, message, constraint },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_is_to_be_done() {
        let kind = |code: &str| match sort(code.to_owned(), String::new(), None) {
            Error::Unavailable { .. } => "wait",
            Error::Refused { .. } => "refused",
            Error::Unusable { .. } => "unusable",
            other => panic!("{other}"),
        };
        // Disk and memory full, too many sessions; shut down, crashed, starting; cancelled; in use; lock not free;
        // deadlock; read only after a failover; idle for too long; connection lost; failed files; corrupt pages.
        let transient =
            "53100 53200 53300 57P01 57P02 57P03 57014 55006 55P03 40001 40P01 25006 25P03 08006 58030 XX001";
        // What is in the row, and what triggers say: with no code, one of their own, or one of another language.
        let refusals = "22001 22P02 23505 23514 44000 21000 54000 P0001 P0002 09000 2F000 38000 UX001 45000";
        // No such database or table, no right, wrong password, cached plan.
        let lasting = "3D000 3F000 42P01 42501 28P01 0A000";
        for (codes, expected) in [(transient, "wait"), (refusals, "refused"), (lasting, "unusable")] {
            for code in codes.split(' ') {
                assert_eq!(kind(code), expected, "{code}");
            }
        }
    }
}
