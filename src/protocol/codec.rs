//! Frames to messages and back.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::*;
use super::error::{ErrorCode, ErrorReply};
use super::event::{Control, Event};
use super::explain::*;
use super::fleet::*;
use super::header::{HEADER_BYTES, MAGIC, MessageType, PROTOCOL_VERSION};
use super::health::*;
use super::inbox::*;
use super::template::*;
use super::worker::*;

/// Nesting of a body, unknown keys included. The deepest message has 5 levels; the rest is room for later versions, and
/// small enough for the stack of any thread.
const DEPTH_MAX: usize = 64;

/// What a refusal repeats of the reason, in bytes: it may quote a value that the peer has made as long as a message.
const REASON_BYTES_MAX: usize = 500;

/// Why bytes are not a message, as the refusal to send.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct DecodeError(pub Box<ErrorReply>);

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Message { $(#[doc = concat!("`", stringify!($name), "`, with its fields.")] $name($name),)* }

        impl Message {
            /// The type that goes into the header.
            pub const fn message_type(&self) -> MessageType {
                match self { $(Message::$name(_) => MessageType::$name,)* }
            }
        }

        $(impl From<$name> for Message { fn from(message: $name) -> Message { Message::$name(message) } })*

        /// The header and the body of a message.
        pub fn encode(message: &Message) -> ([u8; HEADER_BYTES], Vec<u8>) {
            let mut body = Vec::with_capacity(256);
            // Human readable: ids are 36-character strings everywhere.
            let mut serializer = rmp_serde::Serializer::new(&mut body).with_struct_map().with_human_readable();
            match message {
                $(Message::$name(fields) => fields.serialize(&mut serializer),)*
            }
            .expect("every message is a struct of plain fields");
            (message.message_type().header(), body)
        }

        fn decode_body(message_type: MessageType, body: &[u8]) -> Result<Message, rmp_serde::decode::Error> {
            Ok(match message_type {
                $(MessageType::$name => Message::$name(from_body(body)?),)*
            })
        }
    };
}

/// `ErrorReply` under the name that it has on the wire.
type Error = ErrorReply;

messages! {
    RegisterWorker, WorkerHeartbeat, ReportPartialResult, ReportBatchCompletion, ReturnSteps, UnregisterWorker, ReportProgress,
    WorkerRegistered, HeartbeatAcknowledged, ExecuteBatch, ResultsAccepted, ResultsMissing, CancelSteps, Drain,
    RegisterAgain, WorkerUnregistered,
    RegisterTemplate, InitializeTask, TryTaskIfReady, TaskStatus, WaitForTask, ListTasks, CancelTask, RetryTask,
    ResolveStep, ListWorkers, HealthCheck, ListTemplates, ShowTemplate, AnnounceTasks, FindTask,
    PauseNamespace, ResumeNamespace, ListNamespaces, DrainWorker, ExplainStep,
    TemplateRegistered, TasksInitialized, TaskTried, TaskStatusReport, TaskWaited, TaskList, TaskCancelled, TaskRetried,
    StepResolved, WorkerList, HealthReport, TemplateList, TemplateDefinition, TasksAnnounced, TaskFound,
    NamespaceChanged, NamespaceList, WorkerDraining, StepExplained,
    Error, Event, Control,
}

/// The message that a header and a body make, or the refusal to answer with. Bytes after the body's map are ignored.
pub fn decode(header: &[u8], body: &[u8]) -> Result<Message, DecodeError> {
    let refuse = |code, message: String| {
        let correlation_id = from_body::<Correlated>(body).map_or(Uuid::nil(), |body| body.correlation_id);
        DecodeError(Box::new(ErrorReply::new(code, message).for_command(correlation_id)))
    };
    let &[magic, version, high, low] = header else {
        return Err(refuse(
            ErrorCode::MalformedMessage,
            format!("the header has {} bytes instead of {HEADER_BYTES}", header.len()),
        ));
    };
    if magic != MAGIC {
        return Err(refuse(
            ErrorCode::MalformedMessage,
            format!("the header begins with 0x{magic:02x} instead of 0x{MAGIC:02x}"),
        ));
    }
    if version != PROTOCOL_VERSION {
        return Err(refuse(
            ErrorCode::UnsupportedVersion,
            format!("protocol version {version} is not spoken here, only {PROTOCOL_VERSION}"),
        ));
    }
    let code = u16::from_be_bytes([high, low]);
    let Some(message_type) = MessageType::from_code(code) else {
        return Err(refuse(ErrorCode::UnknownMessage, format!("message type 0x{code:04x} is not defined")));
    };
    let name = message_type.name();
    if !is_map(body) {
        return Err(refuse(ErrorCode::MalformedMessage, format!("the body of {name} is not a MessagePack map")));
    }
    decode_body(message_type, body).map_err(|error| {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        let mut refusal = refuse(ErrorCode::MalformedMessage, format!("the body of {name} is not valid: {text}"));
        if let Some(field) = missing_field(&text) {
            refusal.0.code = ErrorCode::InvalidField;
            refusal.0.field = Some(field.to_owned());
        }
        refusal
    })
}

/// The part of a body that is needed to answer even when the rest cannot be read.
#[derive(Deserialize)]
struct Correlated {
    #[serde(default)]
    correlation_id: Uuid,
}

/// Serde would take an array for a struct as well, by position; the protocol does not.
fn is_map(body: &[u8]) -> bool {
    matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf))
}

/// The key that serde says is missing: its error has no other place for it than the text.
fn missing_field(error: &str) -> Option<&str> {
    error.strip_prefix("missing field `")?.split('`').next()
}

fn from_body<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body).with_human_readable();
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}
