//! Answers as the API has them: those of the protocol without correlation ids, with payloads as JSON instead of text.

mod step;
mod task;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::ops::redact::Redaction;
use crate::protocol::JsonText;

pub(super) use step::{Attempt, Note, Step};
pub(super) use task::{Count, ListedTask, Task};

/// A payload that becomes a part of the document digit for digit: no number passes through a float.
pub(super) fn raw(payload: &str) -> Box<RawValue> {
    JsonText::new(payload).to_raw()
}

/// The same without what is not shown.
pub(super) fn shown(payload: &str, hidden: &Redaction) -> Box<RawValue> {
    raw(&hidden.apply(payload))
}

/// The same of bytes of the database.
pub(super) fn shown_bytes(payload: &Bytes, hidden: &Redaction) -> Box<RawValue> {
    shown(&String::from_utf8_lossy(payload), hidden)
}

/// A payload of a request, as the protocol has it.
pub(super) fn text(payload: &RawValue) -> JsonText {
    JsonText::new(payload.get())
}

/// A reply of the protocol without its correlation id, which nobody here has given.
pub(super) struct Reply<T>(pub T);

impl<T: Serialize> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("correlation_id");
        }
        value.serialize(serializer)
    }
}
