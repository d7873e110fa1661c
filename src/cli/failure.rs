//! How a command ends: exit codes, and what a failure says.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::protocol::{ErrorCode, ErrorReply};
use crate::{client, config, ops, postgres, server, store, telemetry};

/// The table of exit codes, at the end of `tasker --help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command worked, its subject did not: a task ended in error or was cancelled,
     a health check found a problem, a template is not valid
  2  wrong usage: unknown option, malformed argument, unreadable input file
  3  the broker refused the command
  4  no broker could be reached, or it did not answer in time
  5  the configuration is not valid
  6  time is up: the task has not ended
  7  failed to start or to go on: Postgres, migrations, sockets
`tasker doctor` has codes of its own; its help tells them.";

/// How the process ends. The codes are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The command worked, its subject did not.
    Unsuccessful = 1,
    /// Wrong usage; clap ends with the same code.
    Usage = 2,
    /// The broker refused the command.
    Refused = 3,
    /// No broker could be reached, or it did not answer in time.
    Unreachable = 4,
    /// The configuration is not valid.
    Configuration = 5,
    /// The task has not ended in the time given.
    TimeIsUp = 6,
    /// Failed to start or to go on.
    Broken = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    message: String,
    details: Vec<(&'static str, String)>,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), details: Vec::new(), hint: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What went wrong, without the advice.
    pub(super) fn summary(&self) -> &str {
        &self.message
    }

    pub(super) fn refused(refusal: &ErrorReply) -> Failure {
        let mut details = vec![("code", refusal.code.as_str().to_owned())];
        details.extend(refusal.field.clone().map(|field| ("field", field)));
        details.extend(
            refusal.position.clone().filter(|position| !position.is_empty()).map(|position| ("position", position)),
        );
        details.extend(refusal.limit.map(|limit| ("limit", limit.to_string())));
        let message = refusal.message.clone();
        Failure { exit: Exit::Refused, message, details, hint: hint(refusal) }
    }
}

/// What to do about a refusal.
fn hint(refusal: &ErrorReply) -> Option<String> {
    let advice = match refusal.code {
        ErrorCode::UnknownTemplate | ErrorCode::UnknownVersion => "`tasker template list` shows what is registered",
        ErrorCode::TemplateConflict => "a registered version never changes: raise the version",
        ErrorCode::InvalidTemplate => "`tasker template validate FILE` shows every problem at once",
        ErrorCode::InvalidContext => "`tasker template show` prints the template with its schema",
        ErrorCode::UnknownWorker => "`tasker worker list` shows the workers",
        ErrorCode::UnknownTask => "`tasker task list` shows the tasks",
        ErrorCode::UnknownStep => "`tasker task status ID --steps` shows the steps",
        ErrorCode::InvalidState => "`tasker task status ID --steps` shows the states",
        ErrorCode::UnsupportedVersion | ErrorCode::UnknownMessage => {
            "this client and the broker are of different releases; `tasker health` shows the broker's"
        }
        ErrorCode::Overloaded | ErrorCode::Unavailable => {
            return Some(match refusal.retry_after_ms {
                Some(delay_ms) => format!("try again in {delay_ms} ms"),
                None => "try again later".to_owned(),
            });
        }
        ErrorCode::MalformedMessage
        | ErrorCode::InvalidField
        | ErrorCode::InvalidJson
        | ErrorCode::TooLarge
        | ErrorCode::Refused => return None,
        ErrorCode::Forbidden => "the broker's configuration says what a key may do, in [[security.peers]]",
    };
    Some(advice.to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "error: {}", self.message)?;
        for (name, detail) in &self.details {
            writeln!(formatter, "  {name}: {detail}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(formatter, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        let exit = match &error {
            client::Error::Refused(refusal) => return Failure::refused(refusal),
            client::Error::Endpoint { .. } => {
                return Failure::usage(error.to_string()).with_hint("an endpoint is tcp://HOST:PORT or ipc:///PATH");
            }
            client::Error::Unreachable { .. } => {
                return Failure::new(Exit::Unreachable, error.to_string())
                    .with_hint("is it running? --broker or TASKER_BROKER says where; `tasker up` starts one");
            }
            client::Error::KeyRefused { .. } => {
                return Failure::new(Exit::Refused, error.to_string()).with_hint(
                    "`tasker key public FILE` prints the key that [[security.peers]] of the broker has to list",
                );
            }
            client::Error::KeyNeeded { .. }
            | client::Error::NoKeysThere { .. }
            | client::Error::HandshakeBrokenOff { .. } => {
                return Failure::new(Exit::Unreachable, error.to_string()).with_hint(
                    "--server-key (TASKER_SERVER_KEY) and --key-file (TASKER_KEY_FILE) say which keys to use",
                );
            }
            client::Error::NoAnswer { .. } | client::Error::Reply(_) | client::Error::Socket(_) => Exit::Unreachable,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure::new(Exit::Configuration, error.to_string())
            .with_hint("config/default.toml documents every option; `tasker config show` prints what is in force")
    }
}

macro_rules! broken {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::new(Exit::Broken, error.to_string())
            }
        }
    )*};
}

broken!(ops::Error, postgres::Error, store::Error, telemetry::Error);

impl From<server::Error> for Failure {
    fn from(error: server::Error) -> Failure {
        match error {
            server::Error::Config(error) => error.into(),
            error => Failure::new(Exit::Broken, error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    /// The only bare input or output is printing.
    fn from(error: io::Error) -> Failure {
        Failure::new(Exit::Broken, format!("failed to print: {error}"))
    }
}
