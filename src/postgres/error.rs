//! What can keep the private Postgres from starting, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private Postgres did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable server binaries.
    #[error("found no Postgres server (looked at {}); {install}, or say where its binaries are", list(searched))]
    NotInstalled {
        /// Every place that was looked at.
        searched: Vec<PathBuf>,
        /// What to install, for this system.
        install: String,
    },
    /// The folder given by option does not hold a server.
    #[error("{} holds no Postgres server: {missing} is missing there; give the folder that holds initdb and postgres", bin.display())]
    NotABinFolder {
        /// The folder as given.
        bin: PathBuf,
        /// The first binary that is not there.
        missing: &'static str,
    },
    /// A server that is too old for what the broker's tables need.
    #[error("Postgres {found} in {} is too old: version {needed} or newer is needed; {install}", bin.display())]
    TooOld {
        /// Where it is.
        bin: PathBuf,
        /// Its major version.
        found: u32,
        /// The oldest that serves.
        needed: u32,
        /// What to install, for this system.
        install: String,
    },
    /// The data folder was made by another major version.
    #[error(
        "the data folder {} was made by Postgres {data_major}, but the server found is Postgres {found_major} ({}); \
         install Postgres {data_major}, upgrade the folder with pg_upgrade, or choose another folder",
        cluster.display(), bin.display()
    )]
    OtherVersion {
        /// The cluster.
        cluster: PathBuf,
        /// Its major version.
        data_major: u32,
        /// The server's major version.
        found_major: u32,
        /// Where that server is.
        bin: PathBuf,
    },
    /// The folder is in use for something else.
    #[error("{} is not fit to be a data folder: {reason}", path.display())]
    UnfitFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The account that Postgres should run as will not do.
    #[error("Postgres cannot run as {account}: {reason}")]
    Account {
        /// The account.
        account: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A live server has the data folder, but does not let us in, or does not answer.
    #[error("a Postgres server (process {pid}) already runs in {}, but {reason}", cluster.display())]
    Unusable {
        /// Its process id.
        pid: i32,
        /// The cluster that it serves.
        cluster: PathBuf,
        /// What it answered, or that it did not.
        reason: String,
    },
    /// `initdb` failed.
    #[error("failed to make a Postgres cluster in {}: {output}", cluster.display())]
    Initdb {
        /// The cluster that was to be made.
        cluster: PathBuf,
        /// What `initdb` said.
        output: String,
    },
    /// The server ended, or did not become ready, during its start.
    #[error("Postgres {what}; the end of {}:\n{tail}", log.display())]
    Start {
        /// What happened.
        what: String,
        /// The log file.
        log: PathBuf,
        /// The last lines that this start wrote there.
        tail: String,
    },
    /// The operating system refused something.
    #[error("failed to {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A statement failed on a server that runs.
    #[error("failed to {action}: {source}")]
    Sql {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// The migrations of a test template failed.
    #[error("failed to migrate the test template: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl Error {
    /// Adds to an operating system error what was tried, and on what.
    pub(super) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let action = format!("{action} {}", path.display());
        move |source| Error::Io { action, source }
    }

    /// Adds to a database error what was tried.
    pub(super) fn sql(action: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Error {
        let action = action.into();
        move |source| Error::Sql { action, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
