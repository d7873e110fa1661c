//! Checks of single fields: what passes here can be stored. Every refusal names the field.

use std::fmt::Display;

use bytes::Bytes;
use tasker_engine::{Refusal, RefusalKind};

use super::limits::NAME_BYTES_MAX;
use crate::protocol::JsonText;

/// Result of a check.
pub(super) type Checked<T> = Result<T, Refusal>;

/// A refusal of a field for its value.
pub(super) fn invalid(field: impl Display, message: impl Display) -> Refusal {
    Refusal::new(RefusalKind::InvalidField, format!("{field} {message}")).field(field.to_string())
}

fn too_large(field: impl Display, message: impl Display, limit: usize) -> Refusal {
    Refusal::new(RefusalKind::TooLarge, format!("{field} {message}")).field(field.to_string()).limit(limit as u64)
}

/// Text without NUL, at most `bytes_max` long.
pub(super) fn text(field: impl Display, value: &str, bytes_max: usize) -> Checked<()> {
    if value.len() > bytes_max {
        return Err(too_large(
            &field,
            format_args!("has {} bytes, at most {bytes_max} are taken", value.len()),
            bytes_max,
        ));
    }
    if value.contains('\0') {
        return Err(invalid(field, "holds a NUL character, which cannot be stored"));
    }
    Ok(())
}

/// A name: text that is not empty.
pub(super) fn name(field: impl Display, value: &str) -> Checked<()> {
    if value.is_empty() {
        return Err(invalid(field, "is empty"));
    }
    text(field, value, NAME_BYTES_MAX)
}

/// A name that may be left out.
pub(super) fn optional_name(field: impl Display, value: Option<&str>) -> Checked<()> {
    value.map_or(Ok(()), |value| name(field, value))
}

/// A list of at most `items_max`.
pub(super) fn list<T>(field: impl Display, items: &[T], items_max: usize) -> Checked<()> {
    if items.len() > items_max {
        let count = items.len();
        return Err(too_large(field, format_args!("has {count} entries, at most {items_max} are taken"), items_max));
    }
    Ok(())
}

/// A list of names.
pub(super) fn names(field: &str, items: &[impl AsRef<str>], items_max: usize) -> Checked<()> {
    list(field, items, items_max)?;
    items.iter().enumerate().try_for_each(|(index, item)| name(format_args!("{field}[{index}]"), item.as_ref()))
}

/// A JSON document that can be stored.
pub(super) fn json(field: impl Display, text: &JsonText, bytes_max: usize) -> Checked<Bytes> {
    if text.len() > bytes_max {
        let length = text.len();
        return Err(too_large(field, format_args!("has {length} bytes, at most {bytes_max} are taken"), bytes_max));
    }
    text.check().map_err(|error| {
        Refusal::new(RefusalKind::InvalidJson, format!("{field} is not JSON that can be stored: {error}"))
            .field(field.to_string())
            .position(format!("line {} column {}", error.line, error.column))
    })?;
    Ok(text.bytes().clone())
}

/// A JSON object that can be stored.
pub(super) fn object(field: impl Display, text: &JsonText, bytes_max: usize) -> Checked<Bytes> {
    let bytes = json(&field, text, bytes_max)?;
    if !text.is_object() {
        return Err(invalid(field, "is not a JSON object"));
    }
    Ok(bytes)
}

/// Text that is kept whatever it holds: cut at `bytes_max` (between characters), with NUL replaced.
pub(super) fn tamed(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    if text.contains('\0') {
        // The replacement takes three bytes; the text may grow, but only by what a peer sent as NUL.
        return text.replace('\0', "\u{FFFD}");
    }
    text
}
