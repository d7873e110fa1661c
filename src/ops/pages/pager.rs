//! From page to page of a list that is read by keys: there is a next and a first page, and no numbers.

use maud::{Markup, html};

/// Where the other pages are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pager<'a> {
    /// How many are on this page.
    pub shown: usize,
    /// How many there are, in words, since large counts are capped: `1,234`, `more than 10,000`.
    pub total: &'a str,
    /// Address of the first page, when this is another one.
    pub first: Option<&'a str>,
    /// Address of the page before.
    pub previous: Option<&'a str>,
    /// Address of the page after.
    pub next: Option<&'a str>,
}

impl Pager<'_> {
    /// As a line below a table.
    pub fn markup(&self) -> Markup {
        html! {
            nav class="pager" aria-label="Pages" {
                span class="count" {
                    (self.shown) " shown"
                    @if !self.total.is_empty() { " of " (self.total) }
                }
                @if let Some(first) = self.first { a class="button" href=(first) { "First" } }
                @if let Some(previous) = self.previous { a class="button" href=(previous) rel="prev" { "← Previous" } }
                @if let Some(next) = self.next { a class="button" href=(next) rel="next" { "Next →" } }
            }
        }
    }
}

/// A count with commas: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 step`, `2,000 steps`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{counted, grouped};

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2_000].map(|count| counted(count, "step")), ["0 steps", "1 step", "2,000 steps"]);
    }

    #[test]
    fn digits_come_in_threes() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), text);
        }
    }
}
