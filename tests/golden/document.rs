//! What PROTOCOL.md says, read from its tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row of a field table.
pub struct Field {
    pub key: String,
    /// As written, links included.
    pub kind: String,
    pub required: bool,
}

/// The parts of PROTOCOL.md that a machine can check.
pub struct Document {
    text: String,
}

impl Document {
    pub fn read() -> Document {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md");
        Document { text: fs::read_to_string(path).expect("PROTOCOL.md is in the package's folder") }
    }

    /// Rows of the table under a heading, each with its cells.
    pub fn rows(&self, heading: &str) -> Vec<Vec<String>> {
        let lines = self.text.lines().skip_while(|line| *line != heading).skip(1);
        let section = lines.take_while(|line| !line.starts_with('#'));
        let rows = section.filter(|line| line.starts_with('|'));
        let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        rows.skip(2).map(cells).collect()
    }

    /// First cell of each row under a heading, without its code marks.
    pub fn names(&self, heading: &str) -> Vec<String> {
        self.rows(heading).iter().map(|row| unquoted(&row[0])).collect()
    }

    /// The field table of a message or structure.
    pub fn fields(&self, name: &str) -> Vec<Field> {
        let rows = self.rows(&format!("### {name}"));
        let field = |row: &Vec<String>| Field {
            key: unquoted(&row[0]),
            kind: row[1].clone(),
            required: match row[2].as_str() {
                "yes" => true,
                "no" => false,
                other => panic!("{name}.{}: required is {other:?} instead of yes or no", row[0]),
            },
        };
        rows.iter().map(field).collect()
    }

    /// The hex digits of the code block that follows a line; what comes after a semicolon explains them.
    pub fn block_after(&self, line: &str) -> String {
        let lines = self.text.lines().skip_while(|candidate| *candidate != line).skip(1);
        let block = lines.skip_while(|line| !line.starts_with("```")).skip(1);
        let block = block.take_while(|line| !line.starts_with("```"));
        block.map(|line| line.split(';').next().unwrap_or_default()).collect()
    }

    /// Message types: name to code and direction.
    pub fn messages(&self) -> BTreeMap<String, (u16, String)> {
        let rows = self.rows("## Messages");
        let entry = |row: &Vec<String>| {
            let code = unquoted(&row[0]);
            let code = u16::from_str_radix(code.trim_start_matches("0x"), 16).expect("a code is hexadecimal");
            let name = row[1].split(['[', ']']).nth(1).expect("a name is a link");
            (name.to_owned(), (code, row[2].clone()))
        };
        rows.iter().map(entry).collect()
    }
}

/// The structure that a field's type links to.
pub fn linked(kind: &str) -> Option<&str> {
    let name = kind.split(['[', ']']).nth(1)?;
    name.starts_with(char::is_uppercase).then_some(name)
}

fn unquoted(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}
