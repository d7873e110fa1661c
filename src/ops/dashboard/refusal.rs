//! A refusal as a page: the same words and status as the API has.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;

use crate::ops::pages::base::Page;
use crate::ops::pages::notice::{Notice, Tone};
use crate::ops::problem::Problem;

/// Why there is no page, or why a form did nothing.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Refusal {
        Refusal(problem.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Problem { status, title, code, detail, field, .. } = self.0;
        let text = field.map_or_else(|| detail.clone(), |field| format!("{field}: {detail}"));
        let page = Page {
            title,
            tab: None,
            broker: "",
            viewer: "",
            notice: Some(Notice { tone: Tone::Bad, text: &text }),
            live: None,
            body: html! {
                div class="panel" {
                    h1 { (title) }
                    p class="muted" { code { (code) } }
                    p { a class="button" href="/" { "Overview" } }
                }
            },
        };
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), page.render()).into_response()
    }
}

/// Nothing is there by this name.
pub(super) fn unknown_task(task: uuid::Uuid) -> Refusal {
    Refusal(Problem::not_found(crate::protocol::ErrorCode::UnknownTask.as_str(), format!("there is no task {task}")))
}
