//! The field in which a filter is written. A plain form: it works without JavaScript, and its address can be passed on.

use maud::{Markup, html};

use super::badge::icon;

/// A field for a filter, or for a search.
#[derive(Clone, Copy, Debug)]
pub struct FilterBox<'a> {
    /// Where it leads.
    pub action: &'a str,
    /// Name of the parameter.
    pub name: &'a str,
    /// What is in force.
    pub text: &'a str,
    /// What it is for, for those who do not see it.
    pub label: &'a str,
    /// An example.
    pub placeholder: &'a str,
    /// What is wrong with the text.
    pub error: Option<&'a str>,
    /// Further parameters to keep.
    pub keep: &'a [(&'a str, &'a str)],
    /// Filters that are often wanted: name, text.
    pub examples: &'a [(&'a str, &'a str)],
}

impl FilterBox<'_> {
    /// As a form.
    pub fn markup(&self) -> Markup {
        html! {
            form class="filter" method="get" action=(self.action) role="search" {
                @for (name, value) in self.keep { input type="hidden" name=(name) value=(value); }
                div class="field" {
                    (icon("search"))
                    input type="search" name=(self.name) value=(self.text) placeholder=(self.placeholder)
                        aria-label=(self.label) aria-invalid=[self.error.map(|_| "true")] autocomplete="off"
                        spellcheck="false" autocapitalize="off" data-search;
                    button { "Go" }
                }
                @if let Some(error) = self.error { p class="wrong" role="alert" { (error) } }
                @if !self.examples.is_empty() {
                    p class="examples" {
                        @for (title, text) in self.examples {
                            a href={ (self.action) "?" (self.name) "=" (encode(text)) }
                                aria-current=[(text == &self.text).then_some("true")] { (title) }
                        }
                    }
                }
            }
        }
    }
}

/// Text as part of an address: what is not a plain letter or digit is percent-encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn addresses_keep_letters_and_encode_the_rest() {
        assert_eq!(encode("step:a/b c&é"), "step%3Aa%2Fb%20c%26%C3%A9");
    }
}
