//! Frames to messages and back.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::*;
use super::error::{ErrorCode, ErrorReply};
use super::event::{Control, Event};
use super::header::{HEADER_BYTES, MAGIC, MessageType, PROTOCOL_VERSION};
use super::worker::*;

/// Why bytes are not a message, as the refusal to send.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct DecodeError(pub ErrorReply);

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Message { $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)* }

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
    RegisterWorker, WorkerHeartbeat, ReportPartialResult, ReportBatchCompletion, ReturnSteps, UnregisterWorker,
    WorkerRegistered, HeartbeatAcknowledged, ExecuteBatch, ResultsAccepted, ResultsMissing, CancelSteps, Drain,
    RegisterAgain, WorkerUnregistered,
    RegisterTemplate, InitializeTask, TryTaskIfReady, TaskStatus, WaitForTask, ListTasks, CancelTask, RetryTask,
    ResolveStep, ListWorkers, HealthCheck, ListTemplates, ShowTemplate,
    TemplateRegistered, TasksInitialized, TaskTried, TaskStatusReport, TaskWaited, TaskList, TaskCancelled, TaskRetried,
    StepResolved, WorkerList, HealthReport, TemplateList, TemplateDefinition,
    Error, Event, Control,
}

/// The message that a header and a body make, or the refusal to answer with.
pub fn decode(header: &[u8], body: &[u8]) -> Result<Message, DecodeError> {
    let refuse = |code, message: String| {
        let correlation_id = from_body::<Correlated>(body).map_or(Uuid::nil(), |body| body.correlation_id);
        DecodeError(ErrorReply::new(code, message).for_command(correlation_id))
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
    decode_body(message_type, body).map_err(|error| {
        refuse(ErrorCode::MalformedMessage, format!("the body of {} is not valid: {error}", message_type.name()))
    })
}

/// The part of a body that is needed to answer even when the rest cannot be read.
#[derive(Deserialize)]
struct Correlated {
    #[serde(default)]
    correlation_id: Uuid,
}

fn from_body<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body).with_human_readable();
    T::deserialize(&mut deserializer)
}
