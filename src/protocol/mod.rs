//! The wire protocol: bytes to typed messages and back.
//!
//! Knows headers, message types and field tables; knows nothing of sockets, the engine or Postgres. `PROTOCOL.md`
//! describes the same thing for client authors; `tests/protocol.rs` compares the two.

mod client;
mod codec;
mod error;
mod event;
mod explain;
mod fleet;
mod header;
mod health;
mod inbox;
mod json;
mod template;
mod worker;

pub use client::*;
pub use codec::{DecodeError, Message, decode, encode};
pub use error::{ErrorCode, ErrorReply};
pub use event::{Control, ControlKind, Event, Topic};
pub use explain::*;
pub use fleet::*;
pub use header::{HEADER_BYTES, MAGIC, MessageType, PROTOCOL_VERSION};
pub use health::*;
pub use inbox::*;
pub use json::{JsonError, JsonText};
pub use template::*;
pub use worker::*;
