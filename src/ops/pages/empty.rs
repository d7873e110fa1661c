//! What stands where a list would be, when there is nothing to list.

use maud::{Markup, html};

/// Says that there is nothing, and what one could do.
pub fn empty(what: &str, hint: Markup) -> Markup {
    html! {
        div class="empty" {
            p class="what" { (what) }
            p { (hint) }
        }
    }
}
