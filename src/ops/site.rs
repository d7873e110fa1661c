//! What every answer can use: the broker, the settings, who may come in.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRef;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use super::counts::Counts;
use super::guard::Visitor;
use super::problem::Problem;
use super::redact::Redaction;
use super::sessions::Sessions;
use crate::client::Command;
use crate::config::{Config, Http};
use crate::protocol::Message;
use crate::security::{TokenRole, Tokens};
use crate::server::{Handle, Inside, Stage};
use crate::store;

/// The site, shared by all requests.
pub(super) type Shared = Arc<Site>;

pub(super) struct Site {
    pub handle: Handle,
    pub http: Http,
    /// Largest body of a request, in bytes: that of a message.
    pub body_bytes_max: usize,
    /// `None` when none are demanded.
    pub tokens: Option<Tokens>,
    pub sessions: Sessions,
    pub counts: Counts,
    /// Becomes true when the server stops.
    pub stopped: watch::Receiver<bool>,
    pool: OnceLock<PgPool>,
}

impl Site {
    pub fn new(config: &Config, tokens: Option<Tokens>, handle: Handle, stopped: watch::Receiver<bool>) -> Site {
        Site {
            handle,
            http: config.http.clone(),
            body_bytes_max: usize::try_from(config.limits.message_bytes_max).unwrap_or(usize::MAX),
            tokens,
            sessions: Sessions::default(),
            counts: Counts::default(),
            stopped,
            pool: OnceLock::new(),
        }
    }

    /// The broker, when it can be asked.
    pub fn inside(&self) -> Result<&Inside, Problem> {
        match (self.handle.stage(), self.handle.inside()) {
            (Stage::Ready | Stage::Draining, Some(inside)) => Ok(inside),
            (stage, _) => Err(Problem::unavailable(format!("the broker is {} and cannot be asked", stage.as_str()))),
        }
    }

    /// Asks the broker what a client asks by this command.
    pub async fn ask<C: Command>(&self, mut command: C) -> Result<C::Reply, Problem> {
        let correlation_id = Uuid::new_v4();
        command.set_correlation_id(correlation_id);
        match self.inside()?.desk.ask(correlation_id, command.into()).await {
            Ok(Message::Error(refusal)) => Err(Problem::refused(refusal)),
            Ok(message) => {
                let reply = C::reply(message).expect("a command is answered by its own reply, or refused");
                Ok(reply.1)
            }
            Err(_) => Err(Problem::unavailable("the broker has stopped")),
        }
    }

    /// What is not shown of payloads: nothing is hidden from a token that may do everything. Where no tokens are demanded nobody
    /// has said who wants to see it all, so that values stay hidden.
    pub fn redaction(&self, visitor: &Visitor) -> Redaction {
        if visitor.name.is_some() && visitor.role >= TokenRole::Admin {
            return Redaction::default();
        }
        Redaction::new(self.http.redact.iter().map(String::as_str))
    }

    /// Connections for questions to the database, apart from those that the broker itself needs.
    pub fn pool(&self) -> Result<&PgPool, Problem> {
        let inside = self.inside()?;
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let pool = store::pool(&inside.database_url, self.http.read_connections)?;
        Ok(self.pool.get_or_init(|| pool))
    }
}

impl FromRef<Shared> for Sessions {
    fn from_ref(site: &Shared) -> Sessions {
        site.sessions.clone()
    }
}
