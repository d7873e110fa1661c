//! The OpenAPI document: what all operations have in common, around what each says of itself.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, ResponseBuilder};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

use crate::ops::problem::Problem;
use crate::ops::sessions;

/// Where schemas are in the document.
const SCHEMAS: &str = "#/components/schemas/";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tasker Core",
        description = "What `tasker broker` answers over HTTP. Reading takes a token with the role `read`, acting one with \
                       `operate`, registering templates one with `admin`; a broker that listens on loopback may demand none. \
                       Times that end in `_ms` are milliseconds since the Unix epoch when they name a moment. A list that goes on \
                       has `next`, which is given back as `after`. Payloads keep every digit: read them with a parser that does."
    ),
    tags(
        (name = "tasks", description = "Submit, find, follow, act."),
        (name = "steps", description = "What a task consists of, what became of each attempt, and why nothing happens."),
        (name = "templates", description = "Definitions of tasks."),
        (name = "workers", description = "Who runs steps."),
        (name = "batches", description = "What was handed out, and whether the closing report agrees."),
        (name = "namespaces", description = "Pausing and resuming."),
        (name = "broker", description = "The broker itself, and what operators did."),
    ),
    security(("token" = []), ("session" = [])),
)]
struct Frame;

/// The document without operations.
pub(super) fn frame() -> OpenApi {
    let mut document = Frame::openapi();
    let components = document.components.get_or_insert_default();
    let token =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("As `tasker token new` shows it.")).build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let session = ApiKeyValue::with_description(sessions::COOKIE, "As the log-in at `/login` gives it.");
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    document
}

/// The document as text, with what every operation may answer besides.
pub(super) fn finished(mut document: OpenApi) -> String {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let content = Content::new(Some(Ref::new(format!("{SCHEMAS}{}", Problem::name()))));
        let refusal = ResponseBuilder::new().description("A refusal.").content("application/problem+json", content);
        operation.responses.responses.insert("default".to_owned(), refusal.build().into());
    }
    document.to_pretty_json().expect("a document has no keys but strings")
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}
