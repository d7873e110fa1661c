//! The page of a task, its payloads as they are, and what its forms do.

use axum::Router;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tasker_engine::{StepState, TaskId};
use uuid::Uuid;

use super::refusal::{Refusal, unknown_task};
use super::{Answer, Frame};
use crate::ops::events::NEWS;
use crate::ops::guard::Visitor;
use crate::ops::pages::base::{Live, Tab};
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::notice::{Notice, Tone};
use crate::ops::pages::task::{Looked, TaskPage, Wanted};
use crate::ops::problem::Problem;
use crate::ops::redact::Redaction;
use crate::ops::site::{Shared, Site};
use crate::protocol::{
    CancelTask, ErrorCode, ExplainStep, JsonText, ResolveStep, RetryTask, StepExplained, StepExplanation,
};
use crate::security::TokenRole;
use crate::store::{self, Dossier, OperatorAct, Payload, StepFile, StepHistory};

/// Attempts of a step, and acts on a task, that its page shows.
const HISTORY_MAX: u32 = 30;

/// Reasons for which a task as a whole stands still, of those that PROTOCOL.md lists.
const HALTS: [&str; 4] = ["namespace_paused", "no_worker", "worker_awaited", "broker_draining"];

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/tasks/{task}", get(show))
        .route("/tasks/{task}/raw/{which}", get(raw))
        .route("/tasks/{task}/cancel", post(cancel))
        .route("/tasks/{task}/retry", post(retry))
        .route("/tasks/{task}/resolve", post(resolve))
}

async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    uri: Uri,
    task: Result<Path<Uuid>, PathRejection>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Answer {
    let (Path(id), Query(parameters)) = (task?, parameters?);
    let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let wanted = Wanted::of(uri.path(), pairs.clone());
    let dossier = store::dossier(site.pool()?, TaskId(id)).await?.ok_or_else(|| unknown_task(id))?;
    let timeline = store::timeline(site.pool()?, TaskId(id)).await?;
    let step = Step::of(&site, &dossier, wanted.step.as_deref()).await?;
    let halt = halt(&site, &dossier).await;
    let redaction = Redaction::new(site.http.redact.iter().map(String::as_str));
    let page = TaskPage {
        dossier: &dossier,
        wanted: &wanted,
        timeline: &timeline,
        looked: step.as_ref().map(Step::looked),
        halt: halt.as_ref(),
        redaction: &redaction,
        may_operate: visitor.role >= TokenRole::Operate,
    };
    let body = page.body().map_err(|cycle| Problem::unavailable(format!("this task cannot be drawn: {cycle}")))?;
    let news = format!("{NEWS}?task={id}");
    let done = pairs.into_iter().find(|(name, _)| *name == "done").and_then(|(_, what)| done(what));
    let frame = Frame {
        title: &format!("{} · {id}", dossier.name),
        tab: Some(Tab::Tasks),
        notice: done.map(|text| Notice { tone: Tone::Good, text }),
        live: Some(Live { news: &news }),
    };
    Ok(frame.around(&site, &visitor, body).await)
}

/// What a form has just done. Only these words can be in an address, so that nobody else's can.
fn done(what: &str) -> Option<&'static str> {
    match what {
        "cancelled" => Some("The task is cancelled."),
        "retried" => Some("Failed steps have new attempts."),
        "resolved" => Some("The step is resolved."),
        _ => None,
    }
}

/// Why the first step that could run does not, when something has to happen first. Without an answer there is still the page.
async fn halt(site: &Site, dossier: &Dossier) -> Option<StepExplanation> {
    let step = dossier.steps.iter().find(|step| step.ready)?.name.clone();
    let explained = site.ask(explain(dossier, step)).await.ok()?;
    explained.steps.into_iter().find(|step| HALTS.contains(&step.reason.as_str()))
}

fn explain(dossier: &Dossier, step: String) -> ExplainStep {
    ExplainStep { correlation_id: Uuid::nil(), task_id: dossier.id.0, step: Some(step) }
}

/// What is known of the step that is looked at.
struct Step {
    number: usize,
    file: StepFile,
    history: StepHistory,
    acts: Vec<OperatorAct>,
    explained: Option<StepExplained>,
}

impl Step {
    async fn of(site: &Site, dossier: &Dossier, name: Option<&str>) -> Result<Option<Step>, Refusal> {
        let number = name.and_then(|name| dossier.steps.iter().position(|step| step.name == name));
        let Some(number) = number else { return Ok(None) };
        let step = &dossier.steps[number];
        let pool = site.pool()?;
        let Some(file) = store::step_file(pool, dossier.id, &step.name).await? else { return Ok(None) };
        let history = store::step_history(pool, dossier.id, &step.name, HISTORY_MAX).await?;
        let mut acts = store::operator_acts(pool, Some(dossier.id), None, HISTORY_MAX).await?;
        acts.retain(|act| act.on.step().is_none_or(|of| of == step.name));
        let waits = matches!(step.state, StepState::Pending | StepState::WaitingForRetry | StepState::InProgress);
        let question = explain(dossier, step.name.clone());
        // Without an answer there is still the rest of the page.
        let explained = if waits { site.ask(question).await.ok() } else { None };
        Ok(Some(Step { number, file, history, acts, explained }))
    }

    fn looked(&self) -> Looked<'_> {
        Looked {
            number: self.number,
            file: &self.file,
            history: &self.history,
            acts: &self.acts,
            explained: self.explained.as_ref(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct OfStep {
    #[serde(default)]
    step: String,
}

/// A payload as it is stored. The values that are not shown are left out, unless a token says who wants to see them.
async fn raw(
    State(site): State<Shared>,
    visitor: Visitor,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    of: Result<Query<OfStep>, QueryRejection>,
) -> Result<Response, Refusal> {
    let (Path((task, which)), Query(OfStep { step })) = (path?, of?);
    let which = match which.as_str() {
        "context" => Payload::Context,
        "options" => Payload::Options,
        "inputs" => Payload::Inputs(&step),
        "result" => Payload::Result(&step),
        _ => return Err(Problem::not_found("not_found", "there is no such payload").into()),
    };
    let payload = store::payload(site.pool()?, TaskId(task), which).await?;
    let payload = payload.ok_or_else(|| Problem::not_found("not_found", "there is no such payload"))?;
    let text = JsonText::from_bytes(payload).map_err(|_| Problem::unavailable("the payload is no UTF-8"))?;
    let shown = site.redaction(&visitor).apply(text.as_str()).into_owned();
    Ok(([(CONTENT_TYPE, "application/json")], shown).into_response())
}

/// What the forms of the page send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    result: String,
}

type Sent = Result<Form<Act>, FormRejection>;

async fn cancel(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(task_id), Form(Act { reason, .. })) = (task?, sent?);
    site.ask(CancelTask { correlation_id: Uuid::nil(), task_id, actor: visitor.actor(""), reason }).await?;
    Ok(back(task_id, "cancelled", ""))
}

async fn retry(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(task_id), Form(Act { reason, step, .. })) = (task?, sent?);
    let steps = if step.is_empty() { Vec::new() } else { vec![step.clone()] };
    site.ask(RetryTask { correlation_id: Uuid::nil(), task_id, steps, actor: visitor.actor(""), reason }).await?;
    Ok(back(task_id, "retried", &step))
}

async fn resolve(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(task_id), Form(Act { reason, step, result })) = (task?, sent?);
    let result = Some(JsonText::new(result)).filter(|result| !result.is_empty());
    if let Some(Err(error)) = result.as_ref().map(JsonText::check) {
        let problem = Problem::invalid("result", format!("the result is no JSON: {error}"));
        return Err(Problem { code: ErrorCode::InvalidJson.as_str(), ..problem }.into());
    }
    let (actor, named) = (visitor.actor(""), step.clone());
    site.ask(ResolveStep { correlation_id: Uuid::nil(), task_id, step, result, actor, reason }).await?;
    Ok(back(task_id, "resolved", &named))
}

/// To the page of the task, which says what was done.
fn back(task: Uuid, done: &str, step: &str) -> Redirect {
    let step = if step.is_empty() { String::new() } else { format!("&step={}", encode(step)) };
    Redirect::to(&format!("/tasks/{task}?done={done}{step}"))
}
