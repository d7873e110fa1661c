//! JSON as it is stored, made readable: lines and colours are added, and no character of a value is changed.

use maud::{Escaper, Markup, PreEscaped, html};
use std::fmt::Write;

use crate::ops::json::{Kind, tokens};
use crate::ops::redact::Redaction;
use crate::store::{EXCERPT_BYTES_MAX, Excerpt};

/// Payloads with more lines are closed until somebody opens them.
const LINES_OPEN: usize = 24;
/// Levels that are indented; deeper ones stay below each other.
const INDENTED_MAX: usize = 40;

/// A payload under its title, with what is there of its text. `raw` leads to the whole of it.
pub fn excerpt(title: &str, excerpt: &Excerpt, raw: Option<&str>, redaction: &Redaction) -> Markup {
    let pretty = pretty(&redaction.apply(&excerpt.text));
    let lines = pretty.bytes().filter(|byte| *byte == b'\n').count() + 1;
    html! {
        details class="payload" open[lines <= LINES_OPEN] {
            summary {
                (title) " " span class="muted" { (size(excerpt.bytes)) }
            }
            pre tabindex="0" aria-label=(title) { code { (PreEscaped(&pretty)) } }
            @if excerpt.text.len() < excerpt.bytes {
                p class="muted" { "Cut after " (size(excerpt.text.len())) "." }
            }
            @if let Some(raw) = raw { p { a href=(raw) { "Raw" } } }
        }
    }
}

/// A payload of which all is there; its beginning is shown.
pub fn bytes(title: &str, payload: &[u8], redaction: &Redaction) -> Markup {
    let shown = &payload[..payload.len().min(EXCERPT_BYTES_MAX as usize)];
    let beginning = Excerpt { text: String::from_utf8_lossy(shown).into_owned(), bytes: payload.len() };
    excerpt(title, &beginning, None, redaction)
}

/// The beginning of a text, with a sign that it goes on.
pub fn shortened(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// `812 bytes`, `12.3 KiB`, `1.0 MiB`.
pub fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// The text with a line for each member and element, as HTML.
fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut pieces = tokens(text).peekable();
    while let Some(token) = pieces.next() {
        let next = pieces.peek().map(|token| token.kind);
        match token.kind {
            Kind::Open => {
                out.push_str(token.text);
                depth += 1;
                if next != Some(Kind::Close) {
                    line(&mut out, depth);
                }
            }
            Kind::Close => {
                depth = depth.saturating_sub(1);
                if !out.ends_with(['{', '[']) {
                    line(&mut out, depth);
                }
                out.push_str(token.text);
            }
            Kind::Comma => {
                out.push(',');
                line(&mut out, depth);
            }
            Kind::Colon => out.push_str(": "),
            Kind::String if next == Some(Kind::Colon) => piece(&mut out, "k", token.text),
            Kind::String => piece(&mut out, "s", token.text),
            Kind::Number => piece(&mut out, "n", token.text),
            Kind::Word => piece(&mut out, "w", token.text),
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.extend(std::iter::repeat_n("  ", depth.min(INDENTED_MAX)));
}

fn piece(out: &mut String, class: &str, text: &str) {
    // Only in what is no JSON do two values stand side by side.
    if out.ends_with("</span>") {
        out.push(' ');
    }
    out.push_str("<span class=\"");
    out.push_str(class);
    out.push_str("\">");
    // Writing to a String does not fail.
    let _ = Escaper::new(out).write_str(text);
    out.push_str("</span>");
}

#[cfg(test)]
mod tests {
    use super::{Excerpt, Redaction, excerpt, pretty, size};

    /// The text without markup.
    fn plain(html: &str) -> String {
        let mut text = String::new();
        let mut inside = false;
        for letter in html.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                _ if !inside => text.push(letter),
                _ => {}
            }
        }
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    #[test]
    fn lines_are_added_and_values_stay() {
        let text = r#"{"id":18446744073709551616,"price":109.970,"tags":[],"of":{"a":[1,"<b>\"&"]},"no":null}"#;
        let expected = "{\n  \"id\": 18446744073709551616,\n  \"price\": 109.970,\n  \"tags\": [],\n  \"of\": {\n    \
                        \"a\": [\n      1,\n      \"<b>\\\"&\"\n    ]\n  },\n  \"no\": null\n}";
        assert_eq!(plain(&pretty(text)), expected);
    }

    #[test]
    fn what_is_no_json_is_shown_too_and_escaped() {
        assert_eq!(plain(&pretty("}]<script> x")), "}\n]<script> x");
        assert!(!pretty("<script>").contains("<script>"));
    }

    #[test]
    fn secrets_are_gone_and_what_is_cut_is_said() {
        let whole = r#"{"password":"xyz","é":1}"#;
        let cut = Excerpt { text: whole[..14].to_owned(), bytes: whole.len() };
        let shown = excerpt("Context", &cut, Some("/raw"), &Redaction::new(["password"])).into_string();
        assert!(!shown.contains("xy") && shown.contains("[redacted]"), "{shown}");
        assert!(shown.contains("Cut after 14 bytes") && shown.contains("href=\"/raw\""));
        let all = Excerpt { text: whole.to_owned(), bytes: whole.len() };
        assert!(!excerpt("Context", &all, None, &Redaction::default()).into_string().contains("Cut after"));
        assert_eq!((size(1), size(5)), ("1 byte".into(), "5 bytes".into()));
        assert_eq!((size(1_536), size(3 << 20)), ("1.5 KiB".into(), "3.0 MiB".into()));
    }
}
