//! Counts and logs what is refused to peers.

use std::sync::Arc;
use std::time::Instant;

use super::log_limit::LogLimit;
use super::traffic::Traffic;
use crate::protocol::ErrorReply;

/// Refusals since the start.
#[derive(Debug)]
pub(super) struct Refusals {
    traffic: Arc<Traffic>,
    log: LogLimit,
}

impl Refusals {
    pub(super) fn new(traffic: Arc<Traffic>) -> Refusals {
        Refusals { traffic, log: LogLimit::default() }
    }

    /// Counts a refusal that is about to be sent.
    pub(super) fn count(&mut self, error: &ErrorReply) {
        self.traffic.refused(error.code);
        if let Some(left_out) = self.log.admit(Instant::now()) {
            tracing::info!(
                code = error.code.as_str(),
                message = error.message,
                left_out,
                "refused what a peer asked for"
            );
        }
    }
}
