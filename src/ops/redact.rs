//! Values that nobody needs to see: those of the configured keys, wherever they are in a document.

use std::borrow::Cow;

use super::json::{Kind, Token, tokens};

/// What stands in place of a value.
pub const REDACTED: &str = "\"[redacted]\"";

/// The keys whose values are not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    keys: Vec<String>,
}

impl Redaction {
    /// Takes keys as they are configured; their case does not matter.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Redaction {
        Redaction { keys: keys.into_iter().map(str::to_lowercase).collect() }
    }

    /// The document with [`REDACTED`] for each value of such a key, objects and arrays as a whole. All else stays as it is,
    /// byte for byte.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.keys.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut shown = String::new();
        let mut kept_until = 0;
        let mut before: Option<Token> = None;
        let mut pieces = tokens(text);
        while let Some(token) = pieces.next() {
            let hides = token.kind == Kind::Colon && before.is_some_and(|key| self.names(&key));
            before = Some(token);
            if !hides {
                continue;
            }
            let Some(value) = pieces.next() else { break };
            let mut end = value.end();
            let mut depth = usize::from(value.kind == Kind::Open);
            while depth > 0 {
                // A text that was cut has no end of the value, and none of it is shown.
                let Some(inner) = pieces.next() else {
                    end = text.len();
                    break;
                };
                depth = match inner.kind {
                    Kind::Open => depth + 1,
                    Kind::Close => depth - 1,
                    _ => depth,
                };
                end = inner.end();
            }
            shown.push_str(&text[kept_until..value.start]);
            shown.push_str(REDACTED);
            kept_until = end;
        }
        if kept_until == 0 {
            return Cow::Borrowed(text);
        }
        shown.push_str(&text[kept_until..]);
        Cow::Owned(shown)
    }

    fn names(&self, key: &Token) -> bool {
        // A key may be written with escapes.
        let Ok(name) = serde_json::from_str::<String>(key.text) else { return false };
        let name = name.to_lowercase();
        self.keys.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::Redaction;

    #[test]
    fn values_of_configured_keys_are_gone_and_all_else_stays() {
        let redaction = Redaction::new(["password", "Token"]);
        for (text, shown) in [
            (r#"{"a": 1.50, "password": "x"}"#, r#"{"a": 1.50, "password": "[redacted]"}"#),
            (
                r#"{"a":{"PassWord":{"b":[1,{"c":2}]},"d":18446744073709551616}}"#,
                r#"{"a":{"PassWord":"[redacted]","d":18446744073709551616}}"#,
            ),
            (
                r#"[{"token":[1,2]},{"token" :null},{"tokens":3}]"#,
                r#"[{"token":"[redacted]"},{"token" :"[redacted]"},{"tokens":3}]"#,
            ),
            (r#"{"pass\u0077ord":1,"a":"password"}"#, r#"{"pass\u0077ord":"[redacted]","a":"password"}"#),
            (r#"{"password":{"cut": "of"#, r#"{"password":"[redacted]""#),
            (r#"{"password":"#, r#"{"password":"#),
            (r#"["password", "token"]"#, r#"["password", "token"]"#),
        ] {
            assert_eq!(redaction.apply(text), shown);
        }
        assert_eq!(Redaction::default().apply(r#"{"password":1}"#), r#"{"password":1}"#);
    }
}
