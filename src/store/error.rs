//! What can go wrong with the database, sorted by what the caller has to do about it.

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
    /// The migrations could not be run.
    #[error("failed to migrate the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl Error {
    /// An error of the connection itself, so that the fate of what was under way is unknown.
    pub(super) fn unavailable(message: impl Into<String>) -> Error {
        Error::Unavailable { sqlstate: None, message: message.into() }
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
        match sqlstate.get(..2).unwrap_or_default() {
            // Data exception, integrity violation, raised by a trigger, program limit (a value too large).
            "22" | "23" | "P0" | "54" => Error::Refused { sqlstate, message, constraint },
            // Bad password or role, no such database, syntax or missing object or right, unsupported feature.
            "28" | "3D" | "3F" | "42" | "0A" => Error::Unusable { sqlstate: Some(sqlstate), message },
            _ => Error::Unavailable { sqlstate: Some(sqlstate), message },
        }
    }
}
