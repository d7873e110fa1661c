//! A line that tells what has just been done, or what to know about the page.

use maud::{Markup, html};

use super::badge::icon;

/// How a notice is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It was done.
    Good,
    /// It was not.
    Bad,
    /// It needs a look.
    Warn,
    /// Good to know.
    Info,
}

/// A notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// How it is meant.
    pub tone: Tone,
    /// One sentence.
    pub text: &'a str,
}

impl Notice<'_> {
    /// As a line of a page; read out at once when it is about a failure.
    pub fn markup(&self) -> Markup {
        let (class, symbol, role) = match self.tone {
            Tone::Good => ("notice good", "check", "status"),
            Tone::Bad => ("notice bad", "cross", "alert"),
            Tone::Warn => ("notice warn", "alert", "status"),
            Tone::Info => ("notice", "dot", "status"),
        };
        html! { p class=(class) role=(role) { (icon(symbol)) span { (self.text) } } }
    }
}

/// Good to know.
pub fn info(text: &str) -> Markup {
    Notice { tone: Tone::Info, text }.markup()
}
