//! Who may come in, and do what. Stands before every route: whatever is not open by name demands a token that may look,
//! and whatever changes something one that may act. Pages of strangers can neither act in a visitor's name nor read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use tracing::info;

use super::dashboard;
use super::events::NEWS;
use super::problem::Problem;
use super::sessions;
use super::site::{Shared, Site};
use crate::security::TokenRole;

/// What is open to everybody.
const OPEN: [&str; 4] = ["/livez", "/readyz", "/startupz", sessions::LOGIN];

/// What is open below it: files that are the same for everybody.
const OPEN_BELOW: &str = "/assets/";

/// Requests that may take as long as they like, by how their paths end: streams, and waits for a task.
const ENDLESS: [&str; 3] = ["/events", NEWS, "/wait"];

/// Longest time for an answer. The database gives up listing queries long before.
const ANSWER: Duration = Duration::from_secs(30);

/// Scripts and styles come from here and from nowhere else, and nothing of the page leaves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The name of the token; none when none are demanded.
    pub name: Option<String>,
    /// What it may do; everything when no tokens are demanded.
    pub role: TokenRole,
}

impl Visitor {
    /// Who is to be recorded for an act, given what the request says of it. The token is known, the rest is said.
    pub fn actor(&self, said: &str) -> String {
        match &self.name {
            None => said.to_owned(),
            Some(name) if said.is_empty() || said == name => name.clone(),
            Some(name) => format!("{said} ({name})"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Problem> {
        parts.extensions.get::<Visitor>().cloned().ok_or_else(|| Problem::unauthorized("nobody knows who asks"))
    }
}

/// A visitor who may do everything.
#[derive(Debug)]
pub(super) struct Administrator;

impl<S: Sync> FromRequestParts<S> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Administrator, Problem> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        demand(&visitor, TokenRole::Admin)?;
        Ok(Administrator)
    }
}

/// Puts the guard before all routes.
pub(super) fn before(routes: Router<Shared>, site: &Shared) -> Router<Shared> {
    routes
        .layer(DefaultBodyLimit::max(site.body_bytes_max))
        .layer(middleware::from_fn_with_state(Arc::clone(site), admit))
        .layer(middleware::from_fn(sign))
}

/// Headers that every answer has.
async fn sign(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// NUL in an address: it is in no name, and Postgres takes no text with it.
const NUL: &str = "%00";

async fn admit(State(site): State<Shared>, mut request: Request, next: Next) -> Response {
    if request.uri().path().contains(NUL) || request.uri().query().is_some_and(|query| query.contains(NUL)) {
        return Problem::invalid("path", "there is a NUL in the address").into_response();
    }
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    if OPEN.contains(&path.as_str()) && is_safe(&method) || path.starts_with(OPEN_BELOW) {
        return next.run(request).await;
    }
    let visitor = match check(&site, request.headers(), &method, &path) {
        Ok(visitor) => visitor,
        Err(problem) => return turn_away(problem, &request),
    };
    let name = visitor.as_ref().and_then(|visitor| visitor.name.clone());
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    let answered = async {
        if ENDLESS.iter().any(|end| path.ends_with(end)) {
            return next.run(request).await;
        }
        let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", format!("no answer in {ANSWER:?}"));
        tokio::time::timeout(ANSWER, next.run(request)).await.unwrap_or_else(|_| late().into_response())
    };
    let response = answered.await;
    if !is_safe(&method) {
        let status = response.status().as_u16();
        info!(target: "tasker_core::audit", token = name, %method, path, status, "asked over HTTP");
    }
    response
}

/// Who asks; nobody at the door of the log-in.
fn check(site: &Site, headers: &HeaderMap, method: &Method, path: &str) -> Result<Option<Visitor>, Problem> {
    if !is_safe(method) {
        same_origin(headers)?;
    }
    if path == sessions::LOGIN {
        return Ok(None);
    }
    let visitor = visitor(site, headers)?;
    // Whoever came in may leave.
    let changes = !is_safe(method) && path != sessions::LOGOUT;
    demand(&visitor, if changes { TokenRole::Operate } else { TokenRole::Read })?;
    Ok(Some(visitor))
}

/// People are shown where to log in, programs are told.
fn turn_away(problem: Problem, request: &Request) -> Response {
    let lacks_token = problem.status == StatusCode::UNAUTHORIZED.as_u16();
    if lacks_token && request.method() == Method::GET && wants_page(request.headers()) {
        return Redirect::to(&sessions::login_for(request.uri())).into_response();
    }
    dashboard::refused(problem, request.headers())
}

/// Whether a person asks, with a browser.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|value| value.to_str().is_ok_and(|accepts| accepts.contains("text/html")))
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn demand(visitor: &Visitor, role: TokenRole) -> Result<(), Problem> {
    if visitor.role >= role {
        return Ok(());
    }
    let name = visitor.name.as_deref().unwrap_or("?");
    Err(Problem::forbidden(format!("`{name}` may {}; this needs a token with the role {role}", visitor.role)))
}

fn visitor(site: &Site, headers: &HeaderMap) -> Result<Visitor, Problem> {
    let Some(tokens) = &site.tokens else {
        // A name of a stranger that leads to this machine lets his page read what this machine's people can.
        known_host(site, headers)?;
        return Ok(Visitor { name: None, role: TokenRole::Admin });
    };
    let holder = if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.and_then(|(_, token)| tokens.holder(token.trim()))
    } else {
        let digest = cookies(headers)
            .find_map(|(name, value)| (name == sessions::COOKIE).then(|| site.sessions.digest(value)).flatten());
        digest.and_then(|digest| tokens.with_digest(&digest))
    };
    match holder {
        Some(holder) => Ok(Visitor { name: Some(holder.name.clone()), role: holder.role }),
        None => Err(Problem::unauthorized("a token is needed: `Authorization: Bearer TOKEN`, or a log-in at /login")),
    }
}

/// Names and values of the cookies.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

/// A browser says from which page a request comes. Programs that are no browsers say nothing, and bring no cookie along that
/// they were not given.
fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = || Problem::forbidden("this came from a page of another site");
    match text(&SEC_FETCH_SITE) {
        Some("same-origin" | "none") => return Ok(()),
        Some(_) => return Err(foreign()),
        None => {}
    }
    match text(&ORIGIN) {
        Some(origin) => {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let here = text(&HOST).is_some_and(|here| !here.is_empty() && here.eq_ignore_ascii_case(host));
            if here { Ok(()) } else { Err(foreign()) }
        }
        None if headers.contains_key(COOKIE) => Err(Problem::forbidden("a browser that says no origin may not act")),
        None => Ok(()),
    }
}

fn known_host(site: &Site, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback || site.http.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let detail =
        format!("`{host}` is no name of this broker; http.hosts lists more, and with tokens every name is one");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
}
