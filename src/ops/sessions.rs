//! Logging in with a browser: the token is given once, and a cookie that means nothing elsewhere stands for it. Sessions
//! are in memory; after a restart people log in again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::header::{HeaderMap, ORIGIN, SET_COOKIE};
use axum::http::{StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::guard::cookies;
use super::pages::assets;
use super::problem::Problem;
use super::site::Shared;
use crate::security::TokenDigest;

/// Where people log in.
pub(super) const LOGIN: &str = "/login";

/// Where they log out.
pub(super) const LOGOUT: &str = "/logout";

/// The cookie's name.
pub(super) const COOKIE: &str = "tasker_session";

/// How long a session lasts: a night's shift, and some more.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// Most sessions; of more, the oldest ends.
const SESSIONS_MAX: usize = 1_000;

/// Open sessions by the value of their cookie.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Session>>>);

#[derive(Clone, Copy)]
struct Session {
    /// Of the token: what it may do is looked up each time, so that one that was taken away is nothing at once.
    digest: TokenDigest,
    ends: Instant,
}

impl Sessions {
    /// Opens a session; the value of its cookie.
    fn open(&self, digest: TokenDigest, now: Instant) -> String {
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.ends > now);
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(id, _)| id.clone());
            oldest.and_then(|id| sessions.remove(&id));
        }
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        sessions.insert(id.clone(), Session { digest, ends: now + LASTS });
        id
    }

    /// The digest of the token that a session stands for.
    pub fn digest(&self, id: &str) -> Option<TokenDigest> {
        let session = self.lock().get(id).copied()?;
        (session.ends > Instant::now()).then_some(session.digest)
    }

    fn close(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route(LOGIN, get(form).post(log_in)).route(LOGOUT, post(log_out))
}

/// Where to log in to see a page.
pub(super) fn login_for(page: &Uri) -> String {
    let wanted = page.path_and_query().map_or("/", |wanted| wanted.as_str());
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", wanted).finish();
    format!("{LOGIN}?{query}")
}

/// What comes after the log-in.
#[derive(Debug, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

impl Next {
    /// A page of this site; the first one when another site was named.
    fn page(&self) -> &str {
        let here =
            self.next.starts_with('/') && !self.next.starts_with("//") && !self.next.contains(['\\', '\r', '\n']);
        if here { &self.next } else { "/" }
    }
}

async fn form(State(site): State<Shared>, next: Query<Next>) -> Response {
    if site.tokens.is_none() {
        return Redirect::to(next.page()).into_response();
    }
    page(&next, None).into_response()
}

#[derive(Debug, Deserialize)]
struct Given {
    token: String,
    #[serde(flatten)]
    next: Next,
}

async fn log_in(
    State(site): State<Shared>,
    headers: HeaderMap,
    given: Result<Form<Given>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(Given { token, next }) = given?;
    let Some(tokens) = &site.tokens else { return Ok(Redirect::to(next.page()).into_response()) };
    let Some(holder) = tokens.holder(token.trim()) else {
        return Ok((StatusCode::UNAUTHORIZED, page(&next, Some("This token is not known here."))).into_response());
    };
    let id = site.sessions.open(holder.digest, Instant::now());
    let cookie = cookie(&id, LASTS.as_secs(), &headers);
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to(next.page())).into_response())
}

async fn log_out(State(site): State<Shared>, headers: HeaderMap) -> Response {
    for (_, id) in cookies(&headers).filter(|(name, _)| *name == COOKIE) {
        site.sessions.close(id);
    }
    (AppendHeaders([(SET_COOKIE, cookie("", 0, &headers))]), Redirect::to(LOGIN)).into_response()
}

/// Not for scripts, not for other sites, and behind a proxy with TLS not without it.
fn cookie(id: &str, seconds: u64, headers: &HeaderMap) -> String {
    let encrypted = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if encrypted { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn page(next: &Next, problem: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Without it, a browser that speaks plain HTTP says of no page that its form is from here.
                meta name="referrer" content="same-origin";
                title { "Log in · Tasker" }
                link rel="icon" href=(assets::ICON.path) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE.path);
            }
            body.login {
                main {
                    h1 { img src=(assets::ICON.path) alt="" width="26" height="26"; "Tasker" }
                    form class="panel" method="post" action=(LOGIN) {
                        @if let Some(problem) = problem { p class="notice bad" role="alert" { (problem) } }
                        label for="token" { "Token" }
                        input #token name="token" type="password" required autofocus autocomplete="current-password";
                        input type="hidden" name="next" value=(next.page());
                        button class="act" type="submit" { "Log in" }
                    }
                    p class="muted" { "An operator of this broker makes tokens with " code { "tasker token new" } "." }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_pages_of_this_site_only() {
        for (next, page) in [
            ("/tasks?q=state:error", "/tasks?q=state:error"),
            ("", "/"),
            ("//evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
        ] {
            assert_eq!(Next { next: next.to_owned() }.page(), page);
        }
        let wanted: Uri = "/tasks?q=a%20b&x=1".parse().expect("a path");
        assert_eq!(login_for(&wanted), "/login?next=%2Ftasks%3Fq%3Da%2520b%26x%3D1");
    }

    #[test]
    fn the_oldest_of_too_many_sessions_ends() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let first = sessions.open([1; 32], now);
        let second = sessions.open([2; 32], now + Duration::from_secs(1));
        for _ in 2..SESSIONS_MAX {
            sessions.open([3; 32], now + Duration::from_secs(2));
        }
        assert_eq!(sessions.digest(&first), Some([1; 32]));
        sessions.open([4; 32], now + Duration::from_secs(3));
        assert_eq!(sessions.digest(&first), None);
        assert_eq!(sessions.digest(&second), Some([2; 32]));
        sessions.close(&second);
        assert_eq!(sessions.digest(&second), None);
    }
}
