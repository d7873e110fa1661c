//! What is on its way through the store and comes back. The engine keeps nothing of it meanwhile, but it is in memory all the
//! same, so that it is counted.

use bytes::Bytes;

use crate::event::{Failure, Outcome, StepReport, TaskRequest};
use crate::refusal::{Refusal, RefusalKind};

/// Requests, or reports, on their way at a time. A look-up takes a millisecond; more of them wait for a Postgres that cannot
/// follow.
pub(crate) const ROWS_MAX: u64 = 20_000;
/// Their payload in bytes: four of the largest messages.
pub(crate) const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rows and bytes on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inquiries {
    rows: u64,
    bytes: u64,
}

impl Inquiries {
    /// Whether as much again may go. The first always does, however large it is.
    pub fn room(self, rows: u64, bytes: u64, what: &str) -> Result<(), Refusal> {
        let (limit, unit) = match (self.rows + rows > ROWS_MAX, self.bytes + bytes > BYTES_MAX) {
            _ if self.rows == 0 => return Ok(()),
            (false, false) => return Ok(()),
            (true, _) => (ROWS_MAX, ""),
            (false, true) => (BYTES_MAX, "bytes of "),
        };
        let message = format!("{limit} {unit}{what} or nearly wait for the database already; try again later");
        Err(Refusal::new(RefusalKind::Overloaded, message).limit(limit))
    }

    pub fn asked(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
    }

    /// An answer has come. That to a question of the engine before this one was not counted here.
    pub fn answered(&mut self, rows: u64, bytes: u64) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Rows on their way.
    pub fn rows(self) -> u64 {
        self.rows
    }

    /// Whether nothing is on its way.
    pub fn none(self) -> bool {
        self.rows == 0
    }
}

impl TaskRequest {
    /// Payload and texts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let labels = &self.labels;
        let texts = [&self.idempotency_key, &labels.initiator, &labels.source_system, &labels.reason];
        let texts = texts.into_iter().chain([&labels.correlation_id]).flatten().map(|text| text.len()).sum::<usize>();
        let tags = labels.tags.iter().map(|tag| tag.len()).sum::<usize>();
        let bypassed = self.bypass_steps.iter().map(String::len).sum::<usize>();
        let options = labels.options.as_ref().map_or(0, Bytes::len);
        let labelled = texts + tags + options + labels.trace_bytes();
        (self.namespace.len() + self.name.len() + self.context.len() + labelled + bypassed) as u64
    }
}

impl StepReport {
    /// Payload and texts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let outcome = match &self.outcome {
            Outcome::Complete(result) => result.len(),
            Outcome::Failed(failure) => {
                let Failure { message, backtrace, context, .. } = &**failure;
                let lines = backtrace.iter().map(String::len).sum::<usize>();
                message.len() + lines + context.as_ref().map_or(0, Bytes::len)
            }
        };
        let events = self.events.iter().map(|(name, payload)| name.len() + payload.len()).sum::<usize>();
        (self.at.step.len() + outcome + events + self.metadata.as_ref().map_or(0, Bytes::len)) as u64
    }
}
