//! Refusals in HTTP's words: RFC 9457 (`application/problem+json`), with the codes of PROTOCOL.md.

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection, StringRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::filter;
use crate::protocol::{ErrorCode, ErrorReply};
use crate::store;

/// When to come back, in seconds, when the broker is overloaded or away.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request was not answered as wished.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status in numbers.
    pub status: u16,
    /// The status in words.
    pub title: &'static str,
    /// A code of PROTOCOL.md, or one of HTTP's own.
    pub code: &'static str,
    /// What is wrong, for people.
    pub detail: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub field: Option<Box<str>>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub position: Option<Box<str>>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            code,
            detail: detail.into(),
            field: None,
            position: None,
            limit: None,
        }
    }

    fn at(mut self, field: &str) -> Problem {
        self.field = Some(field.into());
        self
    }

    /// With the limit that was passed.
    pub fn limited_to(mut self, limit: u64) -> Problem {
        self.limit = Some(limit);
        self
    }

    /// The broker, or its database, cannot answer now.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable.as_str(), detail)
    }

    /// A value of the request.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidField.as_str(), detail).at(field)
    }

    /// A filter that is none, in a field.
    pub fn filter(field: &str, error: &filter::Error) -> Problem {
        let mut problem = Problem::invalid(field, error.to_string());
        problem.position = Some(format!("character {}", error.position).into());
        problem
    }

    /// Who asks may not do that.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden.as_str(), detail)
    }

    /// Nobody knows who asks.
    pub fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// Something that is not there.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// A batch that is not there.
    pub fn unknown_batch(batch: Uuid) -> Problem {
        Problem::not_found("unknown_batch", format!("there is no batch {batch}"))
    }

    /// The broker refused the command.
    pub fn refused(refusal: ErrorReply) -> Problem {
        let problem = Problem::new(status(refusal.code), refusal.code.as_str(), refusal.message);
        Problem {
            field: refusal.field.map(String::into),
            position: refusal.position.map(String::into),
            limit: refusal.limit,
            ..problem
        }
    }
}

const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::MalformedMessage
        | ErrorCode::UnsupportedVersion
        | ErrorCode::UnknownMessage
        | ErrorCode::InvalidField
        | ErrorCode::InvalidJson => StatusCode::BAD_REQUEST,
        ErrorCode::InvalidTemplate | ErrorCode::InvalidContext | ErrorCode::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::TemplateConflict | ErrorCode::InvalidState => StatusCode::CONFLICT,
        ErrorCode::UnknownTemplate
        | ErrorCode::UnknownVersion
        | ErrorCode::UnknownTask
        | ErrorCode::UnknownStep
        | ErrorCode::UnknownWorker => StatusCode::NOT_FOUND,
        ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it was a status");
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tasker\""));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        tracing::warn!(%error, "a question over HTTP was not answered");
        Problem::unavailable(format!("the database did not answer: {error}"))
    }
}

macro_rules! from_rejections {
    ($($rejection:ident => $field:literal,)*) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Problem {
                let code = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
                    _ => ErrorCode::InvalidField,
                };
                Problem::new(rejection.status(), code.as_str(), rejection.body_text()).at($field)
            }
        }
    )*};
}

from_rejections! {
    JsonRejection => "body",
    FormRejection => "body",
    PathRejection => "path",
    QueryRejection => "query",
    StringRejection => "body",
}

/// A route that is there, asked in another way.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
