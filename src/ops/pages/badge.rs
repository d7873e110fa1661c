//! States as people see them: a word, a colour and a shape, so that no one of the three is needed to tell them apart.

use maud::{Markup, html};

/// How a state looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What people read.
    pub label: &'static str,
    /// Class of the style sheet: `good`, `bad`, `busy`, `warn`, `next`, `idle`, `off`, `hand`.
    pub tone: &'static str,
    /// Symbol of [`symbols`].
    pub symbol: &'static str,
}

/// The look of a state of tasks, steps, batches, workers or the broker, by its name; `None` for names that are none.
pub fn look(state: &str) -> Option<Look> {
    let (label, tone, symbol) = match state {
        "complete" => ("complete", "good", "check"),
        "completed" => ("completed", "good", "check"),
        "active" => ("active", "good", "check"),
        "ok" => ("ok", "good", "check"),
        "healthy" => ("healthy", "good", "check"),
        "error" => ("error", "bad", "cross"),
        "failed" => ("failed", "bad", "cross"),
        "lost" => ("lost", "bad", "cross"),
        "timeout" => ("timed out", "bad", "clock"),
        "timed_out" => ("timed out", "bad", "clock"),
        "worker_lost" => ("worker lost", "bad", "cross"),
        "blocked" => ("blocked", "bad", "cross"),
        "in_progress" => ("running", "busy", "play"),
        "executing" => ("executing", "busy", "play"),
        "published" => ("published", "busy", "play"),
        "waiting_for_retry" => ("retry wait", "warn", "again"),
        "recovering" => ("recovering", "warn", "again"),
        "suspect" => ("suspect", "warn", "alert"),
        "degraded" => ("degraded", "warn", "alert"),
        "unhealthy" => ("unhealthy", "bad", "alert"),
        "draining" => ("draining", "warn", "clock"),
        "paused" => ("paused", "warn", "pause"),
        "awaited" => ("awaited", "idle", "ring"),
        "ready" => ("ready", "next", "dot"),
        "pending" => ("pending", "idle", "ring"),
        "created" => ("created", "idle", "ring"),
        "standby" => ("standby", "idle", "pause"),
        "starting" => ("starting", "idle", "clock"),
        "stopped" => ("stopped", "off", "slash"),
        "cancelled" => ("cancelled", "off", "slash"),
        "returned" => ("returned", "off", "slash"),
        "bypassed" => ("bypassed", "hand", "hand"),
        "resolved_manually" => ("resolved", "hand", "hand"),
        _ => return None,
    };
    Some(Look { label, tone, symbol })
}

/// A state as a badge; a name that is no state is shown as it is.
pub fn badge(state: &str) -> Markup {
    match look(state) {
        Some(Look { label, tone, symbol }) => html! { span class={ "badge " (tone) } { (icon(symbol)) (label) } },
        None => html! { span class="badge idle" { (state) } },
    }
}

/// A symbol of [`symbols`], as large as text.
pub fn icon(symbol: &str) -> Markup {
    html! { svg class="icon" width="14" height="14" aria-hidden="true" { use href={ "#i-" (symbol) } {} } }
}

/// The shapes, once a page; the rest of it refers to them.
pub fn symbols() -> Markup {
    let symbol = |name: &str, inner: Markup| html! { symbol id={ "i-" (name) } viewBox="0 0 16 16" { (inner) } };
    let stroke = |path: &str| html! { path d=(path) fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" {} };
    let disc = html! { circle cx="8" cy="8" r="7.5" fill="currentColor" {} };
    let ring = html! { circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" stroke-width="1.6" {} };
    let cut = |path: &str| html! { path d=(path) class="cut" fill="none" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" {} };
    html! {
        svg class="symbols" width="0" height="0" aria-hidden="true" {
            (symbol("check", html! { (disc) (cut("M4.6 8.4 7 10.7l4.4-5")) }))
            (symbol("cross", html! {
                path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5z" fill="currentColor" {}
                (cut("m5.4 5.4 5.2 5.2m0-5.2-5.2 5.2"))
            }))
            (symbol("play", html! { (ring) path d="M6.4 4.9v6.2L11.4 8z" fill="currentColor" {} }))
            (symbol("again", stroke("M13 3.2v3.3H9.7M12.7 6.3A5.2 5.2 0 1 0 13.1 9.6")))
            (symbol("dot", html! { (ring) circle cx="8" cy="8" r="3" fill="currentColor" {} }))
            (symbol("ring", html! { circle cx="8" cy="8" r="6.3" fill="none" stroke="currentColor" stroke-width="1.8" stroke-dasharray="2.6 2.35" {} }))
            (symbol("slash", html! { (ring) (stroke("m4.6 11.4 6.8-6.8")) }))
            (symbol("hand", html! { rect x=".8" y=".8" width="14.4" height="14.4" rx="3.5" fill="currentColor" {} (cut("M4.6 8.4 7 10.7l4.4-5")) }))
            (symbol("pause", html! { (disc) (cut("M6 5.2v5.6M10 5.2v5.6")) }))
            (symbol("clock", html! { (ring) (stroke("M8 4.6V8l2.3 1.7")) }))
            (symbol("alert", html! { path d="M8 1 15.4 14.4H.6z" fill="currentColor" {} (cut("M8 6v3.4M8 12.1v.1")) }))
            (symbol("search", html! { circle cx="7" cy="7" r="4.8" fill="none" stroke="currentColor" stroke-width="1.8" {} (stroke("m10.7 10.7 3.6 3.6")) }))
            (symbol("theme", html! { (ring) path d="M8 1.5a6.5 6.5 0 0 1 0 13z" fill="currentColor" {} }))
        }
    }
}

#[cfg(test)]
mod tests {
    use tasker_engine::{BatchState, StepState, TaskState};

    use super::{badge, look, symbols};
    use crate::ops::graph::Standing;

    #[test]
    fn every_state_has_a_look_and_every_look_a_symbol() {
        let names = TaskState::ALL.iter().map(|state| state.as_str());
        let names = names.chain(StepState::ALL.iter().map(|state| state.as_str()));
        let names = names.chain(BatchState::ALL.iter().map(|state| state.as_str()));
        let names = names.chain(Standing::ALL.iter().map(|standing| standing.as_str()));
        let symbols = symbols().into_string();
        for name in names.chain(["active", "suspect", "draining", "awaited"]) {
            let look = look(name).unwrap_or_else(|| panic!("{name} has no look"));
            assert!(symbols.contains(&format!("id=\"i-{}\"", look.symbol)), "{name}");
        }
    }

    #[test]
    fn standings_differ_in_shape() {
        let shapes: std::collections::HashSet<&str> =
            Standing::ALL.iter().filter_map(|standing| look(standing.as_str())).map(|look| look.symbol).collect();
        assert_eq!(shapes.len(), Standing::ALL.len());
    }

    #[test]
    fn a_strange_name_is_shown_and_escaped() {
        assert!(badge("<b>").into_string().contains("&lt;b&gt;"));
    }
}
