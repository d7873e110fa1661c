//! A quick look at JSON text, which nearly every payload passes. It takes nothing that the thorough check in `json` would
//! refuse; what it does not take is checked again there, which also says what is wrong.

/// Nesting that is looked at; deeper documents are left to the thorough check.
const DEPTH_MAX: u32 = 32;

/// Bytes that stand for themselves in a string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut control = 0;
    while control < 0x20 {
        plain[control] = false;
        control += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

/// Whether UTF-8 text is surely one JSON document which can be stored. `false` leaves it open.
pub(super) fn is_surely_storable(text: &[u8]) -> bool {
    let mut scanner = Scanner { rest: text };
    scanner.value(DEPTH_MAX) && scanner.peek().is_none()
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Takes this byte, after white space, if it is there.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.skip(usize::from(found));
        found
    }

    fn value(&mut self, depth: u32) -> bool {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.list(depth, b'}', |scanner| {
                scanner.peek() == Some(b'"') && scanner.string() && scanner.take(b':') && scanner.value(depth - 1)
            }),
            Some(b'[') => self.list(depth, b']', |scanner| scanner.value(depth - 1)),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => false,
        }
    }

    /// An array or object: its opening byte, items with commas between them, and its closing byte.
    fn list(&mut self, depth: u32, close: u8, mut item: impl FnMut(&mut Self) -> bool) -> bool {
        if depth == 0 {
            return false;
        }
        self.skip(1);
        if self.take(close) {
            return true;
        }
        loop {
            if !item(self) {
                return false;
            }
            if !self.take(b',') {
                return self.take(close);
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.rest.starts_with(word);
        self.skip(word.len());
        found
    }

    /// A string from its opening quote on.
    fn string(&mut self) -> bool {
        self.skip(1);
        loop {
            let plain = self.rest.iter().position(|&byte| !PLAIN[usize::from(byte)]);
            self.skip(plain.unwrap_or(self.rest.len()));
            match self.rest {
                [b'"', ..] => {
                    self.skip(1);
                    return true;
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.skip(2),
                [b'\\', b'u', digits @ ..] if is_plain_escape(digits) => self.skip(6),
                _ => return false,
            }
        }
    }

    fn number(&mut self) -> bool {
        if let [b'-', ..] = self.rest {
            self.skip(1);
        }
        let leading_zero = self.rest.first() == Some(&b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return false;
        }
        if let [b'.', ..] = self.rest {
            self.skip(1);
            if self.digits() == 0 {
                return false;
            }
        }
        if let [b'e' | b'E', ..] = self.rest {
            self.skip(1);
            if let [b'+' | b'-', ..] = self.rest {
                self.skip(1);
            }
            return self.digits() > 0;
        }
        true
    }

    /// Takes digits, and says how many there were.
    fn digits(&mut self) -> usize {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.skip(count);
        count
    }
}

/// Whether four hexadecimal digits stand for a character of their own: no half of a surrogate pair, and not NUL.
fn is_plain_escape(digits: &[u8]) -> bool {
    let Some(digits) = digits.get(..4) else { return false };
    let surrogate = matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
    digits.iter().all(u8::is_ascii_hexdigit) && !surrogate && digits != b"0000"
}

#[cfg(test)]
mod tests {
    use super::is_surely_storable;

    #[test]
    fn what_handlers_return_is_taken_at_once() {
        for text in [
            r#" {"order_id": 42, "items": [{"price": 109.97}, {"price": -0.5e-3}], "note": "K\u00f8benhavn \"Z\"\n", "x": null} "#,
            "[]",
            "{}",
            "[true,false,null]",
            "0",
            "-0",
            "1e999",
            "\"\u{7f}\u{e9}\u{1f600}\"",
            "340282366920938463463374607431768211456",
        ] {
            assert!(is_surely_storable(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_or_cannot_be_stored_is_not_taken() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "tru",
            "nul",
            "truex",
            "{} {}",
            "[1 2]",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\uDFFF\"",
            "\"\n\"",
            "\"\0\"",
            "NaN",
            "'a'",
            "[}",
            "{]",
        ] {
            assert!(!is_surely_storable(text.as_bytes()), "{text}");
        }
        assert!(!is_surely_storable("[".repeat(100_000).as_bytes()));
    }
}
