//! An act with its consequences and its reason, as a form that opens below a button. The server checks where it comes from.

use maud::{Markup, html};

/// Longest reason that a form takes, in characters; it goes into the audit as it is.
pub const REASON_MAX: usize = 500;

/// Something that an operator can do.
#[derive(Clone, Debug)]
pub struct Confirm<'a> {
    /// Names it within the page.
    pub id: &'a str,
    /// The button that opens it.
    pub title: &'a str,
    /// What will happen.
    pub explain: Markup,
    /// Where it is sent.
    pub action: &'a str,
    /// Further fields.
    pub fields: Markup,
    /// The button that does it.
    pub button: &'a str,
    /// Whether it cannot be undone.
    pub danger: bool,
    /// Whether a reason is demanded; it can be given in any case.
    pub reason_required: bool,
    /// Id of a form around a table, whose selected rows are sent along, instead of a form of its own.
    pub form: Option<&'a str>,
}

impl Confirm<'_> {
    /// As a button with a form.
    pub fn markup(&self) -> Markup {
        let form = self.form;
        let fields = html! {
            p { (self.explain) }
            (self.fields)
            label {
                span { "Reason" @if !self.reason_required { span class="muted" { " (optional)" } } }
                input name="reason" maxlength=(REASON_MAX) required[self.reason_required] autocomplete="off" form=[form];
            }
            button class=(if self.danger { "act danger" } else { "act" }) form=[form] formaction=[form.map(|_| self.action)]
                formmethod=[form.map(|_| "post")] { (self.button) }
        };
        html! {
            details class="confirm" id=(self.id) {
                summary class=(if self.danger { "button danger" } else { "button" }) { (self.title) }
                @if form.is_some() {
                    div class="card" { (fields) }
                } @else {
                    form class="card" method="post" action=(self.action) { (fields) }
                }
            }
        }
    }
}
