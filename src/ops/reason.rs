//! Why somebody acts.

use super::problem::Problem;

/// The reason, which has to be there: whoever comes later will ask.
pub(super) fn demanded(reason: &str) -> Result<String, Problem> {
    match reason.trim() {
        "" => Err(Problem::invalid("reason", "a reason is needed, for those who look later")),
        reason => Ok(reason.to_owned()),
    }
}
