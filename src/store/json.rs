//! Payloads on their way into and out of Postgres: JSON text as bytes, neither decoded nor copied more than the wire needs.

use bytes::Bytes;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type, TypeInfo};

/// `json` and `json[]` in `pg_type`, the same in every Postgres.
const JSON: PgTypeInfo = PgTypeInfo::with_oid(Oid(114));
const JSON_ARRAY: PgTypeInfo = PgTypeInfo::with_oid(Oid(199));

/// JSON text to bind. Postgres checks its syntax.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonText<'a>(pub &'a [u8]);

impl<'a> JsonText<'a> {
    /// A payload that must be there; where the engine has none, JSON's own word for nothing.
    pub fn or_null(payload: &'a [u8]) -> JsonText<'a> {
        JsonText(if payload.is_empty() { b"null" } else { payload })
    }
}

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        JSON
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        JSON_ARRAY
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0);
        Ok(IsNull::No)
    }
}

/// JSON text that was read.
#[derive(Debug, Default)]
pub(super) struct JsonBytes(pub Bytes);

impl Type<Postgres> for JsonBytes {
    fn type_info() -> PgTypeInfo {
        JSON
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        found.name() == "JSON"
    }
}

impl Decode<'_, Postgres> for JsonBytes {
    fn decode(value: PgValueRef<'_>) -> Result<JsonBytes, BoxDynError> {
        Ok(JsonBytes(Bytes::copy_from_slice(value.as_bytes()?)))
    }
}
