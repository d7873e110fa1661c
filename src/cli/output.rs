//! Printing: aligned tables, documents for programs with payloads as they are, notes.

mod yaml;

use std::io::{self, Write};

use clap::ValueEnum;

use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned text
    Text,
    /// One JSON document
    Json,
    /// JSON, one object a line: of a list each entry, as it comes
    Jsonl,
    /// One YAML document; numbers keep their digits
    Yaml,
}

impl Format {
    /// Whether programs read it.
    pub(super) fn is_for_programs(self) -> bool {
        self != Format::Text
    }

    /// Prints data: the document for programs, the text for people.
    pub(super) fn print(self, document: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        match self {
            Format::Text => print(&text()),
            Format::Json => print_json(document),
            Format::Jsonl => print_line(document),
            Format::Yaml => print(&yaml::from_json(&compact(document)?)?),
        }
    }

    /// The same of a list, whose entries are lines of `jsonl`.
    pub(super) fn print_list<T: Serialize>(
        self,
        document: &impl Serialize,
        entries: impl IntoIterator<Item = T>,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self {
            Format::Jsonl => entries.into_iter().try_for_each(|entry| print_line(&entry)),
            Format::Text | Format::Json | Format::Yaml => self.print(document, text),
        }
    }

    /// Prints what is data for programs only, when they read it.
    pub(super) fn print_for_programs(self, document: &impl Serialize) -> io::Result<()> {
        self.print(document, String::new)
    }
}

/// Prints a JSON document in one line.
pub(super) fn print_line(document: &impl Serialize) -> io::Result<()> {
    print(&(yaml::one_line(&compact(document)?) + "\n"))
}

fn compact(document: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(document).map_err(io::Error::other)
}

/// Prints a JSON document.
fn print_json(document: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
    text.push('\n');
    print(&text)
}

/// Prints text as it is. A reader that has heard enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Tells the user something that is not data.
pub(super) fn note(text: &str) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Rows under a heading, each column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(|title| (*title).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text of others in one line: what would move the cursor or start a new row is replaced, what is long is cut.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let mut line: String = text
        .chars()
        .take(chars_max + 1)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if line.chars().count() > chars_max {
        line = line.chars().take(chars_max - 1).collect();
        line.push('…');
    }
    line
}

/// A cell for what may be absent.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::JsonText;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&["STEP", "STATE"]);
        table.row(["größe".to_owned(), String::new()]);
        table.row(["a".to_owned(), "complete".to_owned()]);
        assert_eq!(table.render(), "STEP   STATE\ngröße\na      complete\n");
    }

    #[test]
    fn a_line_is_one_line_whatever_the_payload() {
        let payload = JsonText::new("{\"a\": 1E+2,\n\"b\": \"x\\ny\"}").to_raw();
        let line = yaml::one_line(&compact(&payload).expect("serialize"));
        assert_eq!(line, "{\"a\": 1E+2, \"b\": \"x\\ny\"}");
    }

    #[test]
    fn text_of_others_stays_in_its_line() {
        assert_eq!(one_line("two\nlines\u{1b}[31m", 80), "two lines [31m");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }
}
