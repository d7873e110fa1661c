//! Refusals: a closed list of codes, and the message that carries one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, retryable $retryable:literal;)*) => {
        /// Why a command was refused. The list is closed: a client may switch over it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];
            /// The code as sent.
            pub const fn as_str(self) -> &'static str { match self { $(ErrorCode::$name => $text,)* } }
            /// Whether the same command may succeed later.
            pub const fn retryable(self) -> bool { match self { $(ErrorCode::$name => $retryable,)* } }
        }
    };
}

error_codes! {
    /// Frames that are not a message: wrong count, short header, body that is not a MessagePack map.
    MalformedMessage = "malformed_message", retryable false;
    /// A protocol version that the broker does not speak.
    UnsupportedVersion = "unsupported_version", retryable false;
    /// A message type that is not defined, or that the broker does not take.
    UnknownMessage = "unknown_message", retryable false;
    /// A field is missing or has a value that is not allowed; `field` names it.
    InvalidField = "invalid_field", retryable false;
    /// A payload is not valid JSON, or holds what cannot be stored (NUL, lone surrogate).
    InvalidJson = "invalid_json", retryable false;
    /// A payload or list is larger than allowed; `limit` says how large it may be.
    TooLarge = "too_large", retryable false;
    /// A template definition is not valid; `position` says where.
    InvalidTemplate = "invalid_template", retryable false;
    /// The same version is registered with another content.
    TemplateConflict = "template_conflict", retryable false;
    /// No template of this namespace and name.
    UnknownTemplate = "unknown_template", retryable false;
    /// The template exists, but not in this version.
    UnknownVersion = "unknown_version", retryable false;
    /// The context does not follow the template's schema; `position` is the JSON pointer.
    InvalidContext = "invalid_context", retryable false;
    /// No such task.
    UnknownTask = "unknown_task", retryable false;
    /// The task has no such step.
    UnknownStep = "unknown_step", retryable false;
    /// The command does not apply in the present state.
    InvalidState = "invalid_state", retryable false;
    /// The worker is not registered.
    UnknownWorker = "unknown_worker", retryable false;
    /// A limit on load is reached; try again later.
    Overloaded = "overloaded", retryable true;
    /// Postgres is away, or the broker is stopping; try again later.
    Unavailable = "unavailable", retryable true;
    /// Postgres refused this one command; or, for `FindTask`, the request with that key was refused.
    Refused = "refused", retryable false;
    /// The role of the peer does not allow this.
    Forbidden = "forbidden", retryable false;
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// From the command, or nil when it could not be read.
    #[serde(default)]
    pub correlation_id: Uuid,
    /// Why.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where: `file:line: key` of a template, JSON pointer of a context, byte of a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Try again after this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorReply {
    /// A refusal with a code and a message, to be completed with the `with_*` functions.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            correlation_id: Uuid::nil(),
            code,
            message: message.into(),
            retryable: code.retryable(),
            field: None,
            limit: None,
            position: None,
            retry_after_ms: None,
        }
    }

    /// The same refusal, as an answer to the command with this id.
    pub fn for_command(mut self, correlation_id: Uuid) -> ErrorReply {
        self.correlation_id = correlation_id;
        self
    }

    /// Names the field at fault.
    pub fn with_field(mut self, field: impl Into<String>) -> ErrorReply {
        self.field = Some(field.into());
        self
    }

    /// Names the limit that was passed.
    pub fn with_limit(mut self, limit: u64) -> ErrorReply {
        self.limit = Some(limit);
        self
    }

    /// Says where the fault is.
    pub fn with_position(mut self, position: impl Into<String>) -> ErrorReply {
        self.position = Some(position.into());
        self
    }
}
