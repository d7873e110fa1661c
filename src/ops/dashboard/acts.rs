//! What the forms of lists send, and what is said after it was done.

use axum::Form;
use axum::extract::rejection::FormRejection;
use serde::Deserialize;

use crate::ops::pages::notice::{Notice, Tone};
use crate::ops::problem::Problem;
use crate::ops::reason::demanded;

/// A form with nothing but the reason.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    #[serde(default)]
    reason: String,
}

pub(super) type Sent = Result<Form<Act>, FormRejection>;

/// The reason of such a form.
pub(super) fn reason(sent: Sent) -> Result<String, Problem> {
    let Form(Act { reason }) = sent?;
    demanded(&reason)
}

/// What was done, of those words that can be in an address.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    done: Option<String>,
}

impl Done {
    /// The notice for it. Only these words can be in an address, so that nobody else's can.
    pub(super) fn notice(&self) -> Option<Notice<'static>> {
        let text = match self.done.as_deref()? {
            "paused" => "The namespace is paused: running steps finish, nothing else starts.",
            "resumed" => "The namespace goes on.",
            "draining" => "The worker finishes what it has, and leaves.",
            _ => return None,
        };
        Some(Notice { tone: Tone::Good, text })
    }
}
