//! JSON text in pieces, for showing it as it is: nothing is decoded, so that every digit of a number stays.
//! Takes any text; what is no JSON comes out as pieces too.

/// What a piece of JSON text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{` or `[`.
    Open,
    /// `}` or `]`.
    Close,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// A string with its quotes; the last one of a text that was cut may lack the second.
    String,
    /// Starts like a number, and goes on to the next delimiter.
    Number,
    /// `true`, `false`, `null`, and whatever is no JSON.
    Word,
}

/// A piece of JSON text with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The text itself.
    pub text: &'a str,
    /// Byte at which it starts.
    pub start: usize,
}

impl Token<'_> {
    /// Byte after its last.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The pieces of a text in order; white space between them is passed over.
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text, at: 0 }
}

/// Iterator of [`tokens`].
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        let start = self.at + bytes[self.at..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        let one = |kind| (kind, start + 1);
        let (kind, end) = match bytes[start] {
            b'{' | b'[' => one(Kind::Open),
            b'}' | b']' => one(Kind::Close),
            b':' => one(Kind::Colon),
            b',' => one(Kind::Comma),
            b'"' => (Kind::String, end_of_string(bytes, start)),
            b'-' | b'0'..=b'9' => (Kind::Number, end_of_word(bytes, start)),
            _ => (Kind::Word, end_of_word(bytes, start)),
        };
        self.at = end;
        // All ends are beside an ASCII byte, or at the end of the text.
        self.text.get(start..end).map(|text| Token { kind, text, start })
    }
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' if bytes.get(at + 1).is_some_and(u8::is_ascii) => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let delimits = |byte: &u8| byte.is_ascii_whitespace() || b"{}[]:,\"".contains(byte);
    bytes[start..].iter().position(delimits).map_or(bytes.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Kind, tokens};

    #[test]
    fn numbers_keep_all_of_their_digits() {
        let text = r#"{"a": 18446744073709551616, "b":[-1.50e+400,true]}"#;
        let numbers: Vec<&str> =
            tokens(text).filter(|token| token.kind == Kind::Number).map(|token| token.text).collect();
        assert_eq!(numbers, ["18446744073709551616", "-1.50e+400"]);
    }

    #[test]
    fn quotes_in_strings_do_not_end_them() {
        let texts: Vec<&str> = tokens(r#"["a\"b\\", "c\u0022"]"#).map(|token| token.text).collect();
        assert_eq!(texts, ["[", r#""a\"b\\""#, ",", r#""c\u0022""#, "]"]);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_nothing_but_white_space_is_lost(text in "(?s).{0,60}|[\\[\\]{}:,\"\\\\ é1a-]{0,60}") {
            let all: String = tokens(&text).map(|token| token.text).collect();
            let solid = |text: &str| text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<u8>>();
            prop_assert_eq!(solid(&all), solid(&text));
            for token in tokens(&text) {
                prop_assert_eq!(&text[token.start..token.end()], token.text);
            }
        }
    }
}
