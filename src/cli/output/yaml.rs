//! JSON text as YAML. Numbers, words and the order of keys are copied and never decoded, so that 2^64, `1E+2` and `209.970`
//! come out as they went in; the libraries that there are carry numbers through `i64` and `f64`.

use std::io;

/// One level of nesting.
const INDENT: usize = 2;

/// Deeper values are written as one line of JSON, which YAML is as well: indentation would grow with the square of the depth.
const DEPTH_MAX: usize = 64;

/// The document as YAML, with a newline at its end. `json` must be JSON, as `serde_json` writes it.
pub(super) fn from_json(json: &str) -> io::Result<String> {
    let mut writer = Writer { rest: json, text: String::with_capacity(json.len() + json.len() / 4) };
    writer.value(0, Place::Document)?;
    Ok(writer.text)
}

/// What stands before a value on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing.
    Document,
    /// `key:`
    Key,
    /// `-`, after which a list or an object begins on the same line.
    Item,
}

struct Writer<'a> {
    rest: &'a str,
    text: String,
}

impl<'a> Writer<'a> {
    fn value(&mut self, depth: usize, place: Place) -> io::Result<()> {
        let nested = self.peek()?;
        if matches!(nested, b'{' | b'[') && (depth > DEPTH_MAX || self.is_empty(nested)) {
            let whole = self.whole()?;
            return self.scalar(&one_line(whole), place);
        }
        match nested {
            b'{' => self.object(depth, place),
            b'[' => self.list(depth, place),
            b'"' => {
                let text = self.string()?;
                let written = string(&text, (depth + usize::from(place == Place::Item)) * INDENT);
                self.scalar(&written, place)
            }
            _ => {
                let word = self.word();
                self.scalar(word, place)
            }
        }
    }

    fn scalar(&mut self, written: &str, place: Place) -> io::Result<()> {
        if place != Place::Document {
            self.text.push(' ');
        }
        self.text.push_str(written);
        self.text.push('\n');
        Ok(())
    }

    fn object(&mut self, depth: usize, place: Place) -> io::Result<()> {
        self.open(place);
        let mut is_first = true;
        self.each(b'}', |writer| {
            writer.begin(depth, is_first && place == Place::Item);
            is_first = false;
            let key = writer.string()?;
            writer.text.push_str(&plain_or_quoted(&key));
            writer.text.push(':');
            writer.expect(b':')?;
            writer.value(depth + 1, Place::Key)
        })
    }

    fn list(&mut self, depth: usize, place: Place) -> io::Result<()> {
        self.open(place);
        let mut is_first = true;
        self.each(b']', |writer| {
            writer.begin(depth, is_first && place == Place::Item);
            is_first = false;
            writer.text.push('-');
            writer.value(depth + 1, Place::Item)
        })
    }

    /// After a key, what is nested begins on the next line.
    fn open(&mut self, place: Place) {
        match place {
            Place::Document => {}
            Place::Key => self.text.push('\n'),
            Place::Item => self.text.push(' '),
        }
    }

    fn begin(&mut self, depth: usize, is_on_the_line: bool) {
        if !is_on_the_line {
            self.text.extend(std::iter::repeat_n(' ', depth * INDENT));
        }
    }

    fn each(&mut self, end: u8, mut entry: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.rest = &self.rest[1..];
        loop {
            entry(self)?;
            match self.peek()? {
                b',' => self.rest = &self.rest[1..],
                found if found == end => {
                    self.rest = &self.rest[1..];
                    return Ok(());
                }
                _ => return Err(self.broken()),
            }
        }
    }

    fn peek(&mut self) -> io::Result<u8> {
        self.rest = self.rest.trim_start();
        self.rest.bytes().next().ok_or_else(|| self.broken())
    }

    fn expect(&mut self, wanted: u8) -> io::Result<()> {
        if self.peek()? != wanted {
            return Err(self.broken());
        }
        self.rest = &self.rest[1..];
        Ok(())
    }

    /// Whether what begins here has nothing in it.
    fn is_empty(&self, opening: u8) -> bool {
        let closing = if opening == b'{' { '}' } else { ']' };
        self.rest[1..].trim_start().starts_with(closing)
    }

    /// A number, `true`, `false` or `null`, as it is.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|next: char| ",]}".contains(next) || next.is_whitespace()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn string(&mut self) -> io::Result<String> {
        let text = self.whole()?;
        serde_json::from_str(text).map_err(io::Error::other)
    }

    /// The text of the value that begins here, whatever it is.
    fn whole(&mut self) -> io::Result<&'a str> {
        self.peek()?;
        let mut depth = 0_usize;
        let (mut in_string, mut is_escaped) = (false, false);
        for (at, byte) in self.rest.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !in_string {
                let (whole, rest) = self.rest.split_at(at + 1);
                self.rest = rest;
                return Ok(whole);
            }
        }
        Err(self.broken())
    }

    fn broken(&self) -> io::Error {
        io::Error::other(format!("not JSON with {} bytes left", self.rest.len()))
    }
}

/// Line breaks between tokens of JSON mean nothing; inside of its strings there are none.
pub(super) fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// A string in the way that is read most easily and cannot be read as anything else.
fn string(text: &str, indent: usize) -> String {
    match is_block(text) {
        true => block(text, indent),
        false => plain_or_quoted(text),
    }
}

fn plain_or_quoted(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Words that YAML 1.1 or 1.2 take for something else than a string.
const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];

/// Whether no reader takes the text for anything but a string: a letter first, then what has no meaning in YAML.
fn is_plain(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./@+() ".contains(&byte));
    first && rest && !text.ends_with(' ') && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Several lines, none of which a block would change.
fn is_block(text: &str) -> bool {
    let fits = |line: &str| !line.ends_with([' ', '\t']) && !line.chars().any(is_special);
    text.contains('\n') && !text.starts_with([' ', '\t', '\n']) && !text.ends_with("\n\n") && text.split('\n').all(fits)
}

fn block(text: &str, indent: usize) -> String {
    let (mark, lines) = match text.strip_suffix('\n') {
        Some(lines) => ("|", lines),
        None => ("|-", text),
    };
    let mut written = mark.to_owned();
    for line in lines.split('\n') {
        written.push('\n');
        if !line.is_empty() {
            written.extend(std::iter::repeat_n(' ', indent.max(INDENT)));
            written.push_str(line);
        }
    }
    written
}

/// What a YAML file may not have as it is, or takes for a line break.
fn is_special(next: char) -> bool {
    next.is_control() || matches!(next, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for next in text.chars() {
        match next {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            '\r' => written.push_str("\\r"),
            next if is_special(next) => written.push_str(&format!("\\u{:04x}", u32::from(next))),
            next => written.push(next),
        }
    }
    written.push('"');
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        from_json(json).expect("it is JSON")
    }

    #[test]
    fn objects_and_lists_are_nested_by_indentation() {
        let json = r#"{"a":{"b":[1,{"c":null,"d":[[true],[]]}]},"e":{},"f":"x y"}"#;
        let expected = "\
a:
  b:
    - 1
    - c: null
      d:
        - - true
        - []
e: {}
f: x y
";
        assert_eq!(yaml(json), expected);
        assert_eq!(yaml("[ 1 , [ ] ]"), "- 1\n- [ ]\n");
    }

    #[test]
    fn numbers_keep_every_digit() {
        for number in
            ["18446744073709551616", "340282366920938463463374607431768211456", "1E+2", "209.970", "-0.0", "1e400"]
        {
            assert_eq!(yaml(number), format!("{number}\n"));
            assert_eq!(yaml(&format!("{{\"a\": {number} }}")), format!("a: {number}\n"));
        }
    }

    #[test]
    fn strings_cannot_be_taken_for_anything_else() {
        for (json, written) in [
            ("\"complete\"", "complete"),
            ("\"shop/order@1.0.0\"", "shop/order@1.0.0"),
            ("\"\"", "\"\""),
            ("\"true\"", "\"true\""),
            ("\"No\"", "\"No\""),
            ("\"1.0.0\"", "\"1.0.0\""),
            ("\"a: b\"", "\"a: b\""),
            ("\"a #b\"", "\"a #b\""),
            ("\"- a\"", "\"- a\""),
            ("\"ends \"", "\"ends \""),
            ("\"gr\\u00f6\\u00dfe \\ud83d\\ude00 \\/\"", "\"größe 😀 /\""),
            ("\"\\u001b[31m\\u2028\\u007f\"", "\"\\u001b[31m\\u2028\\u007f\""),
            ("\"a\\\"b\\\\\"", "\"a\\\"b\\\\\""),
            ("\"two\\r\\nlines\"", "\"two\\r\\nlines\""),
        ] {
            assert_eq!(yaml(json), format!("{written}\n"));
        }
    }

    #[test]
    fn lines_become_blocks() {
        assert_eq!(yaml(r#"{"yaml":"a: 1\n\nb: 2\n","x":1}"#), "yaml: |\n  a: 1\n\n  b: 2\nx: 1\n");
        assert_eq!(yaml(r#"[{"t":"one\ntwo"}]"#), "- t: |-\n    one\n    two\n");
        assert_eq!(yaml(r#"["one\ntwo",3]"#), "- |-\n    one\n    two\n- 3\n");
        assert_eq!(yaml(r#"" one\ntwo""#), "\" one\\ntwo\"\n");
    }

    #[test]
    fn what_is_very_deep_stays_json() {
        let json = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let written = yaml(&json);
        assert!(written.lines().count() == 1 && written.trim_end().ends_with(&"]".repeat(50)), "{written}");
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", "[1", "{\"a\" 1}", "{\"a\"", "\"a"] {
            assert!(from_json(text).is_err(), "{text}");
        }
    }
}
