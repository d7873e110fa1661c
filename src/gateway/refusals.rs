//! Counts what was refused to peers, by code.

use std::time::Instant;

use super::log_limit::LogLimit;
use crate::protocol::{ErrorCode, ErrorReply, RefusalCount};

/// Refusals since the start.
#[derive(Debug)]
pub(super) struct Refusals {
    counts: [u64; ErrorCode::ALL.len()],
    log: LogLimit,
}

impl Refusals {
    pub(super) fn new() -> Refusals {
        Refusals { counts: [0; ErrorCode::ALL.len()], log: LogLimit::default() }
    }

    /// Counts a refusal that is about to be sent.
    pub(super) fn count(&mut self, error: &ErrorReply) {
        // Its place among the codes: the list has them in the order of the type.
        self.counts[error.code as usize] += 1;
        if let Some(left_out) = self.log.admit(Instant::now()) {
            tracing::info!(
                code = error.code.as_str(),
                message = error.message,
                left_out,
                "refused what a peer asked for"
            );
        }
    }

    /// By code, without those that never occurred.
    pub(super) fn by_code(&self) -> Vec<RefusalCount> {
        let counts = ErrorCode::ALL.iter().zip(self.counts).filter(|&(_, count)| count > 0);
        counts.map(|(code, count)| RefusalCount { code: code.as_str().to_owned(), count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_count_of_its_own() {
        let mut refusals = Refusals::new();
        for (times, &code) in (1..).zip(ErrorCode::ALL) {
            (0..times).for_each(|_| refusals.count(&ErrorReply::new(code, "no")));
        }
        let expected =
            (1..).zip(ErrorCode::ALL).map(|(count, code)| RefusalCount { code: code.as_str().to_owned(), count });
        assert_eq!(refusals.by_code(), expected.collect::<Vec<_>>());
    }
}
