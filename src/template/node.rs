//! The tree of a definition: JSON's values, each with its place in the text.

use std::collections::HashMap;

/// Where a node or key starts: line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Boolean(bool),
    /// A JSON number, digit for digit.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub place: Place,
    pub text: String,
}

impl Node {
    /// The node as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(text) => out.push_str(text),
            Value::Text(text) => out.push_str(&quoted(text)),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(&quoted(&key.text));
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// This node with `over` laid over it: maps are merged key by key, anything else is replaced.
    pub fn overlaid(&self, over: &Node) -> Node {
        let (Value::Map(below), Value::Map(above)) = (&self.value, &over.value) else { return over.clone() };
        let mut entries = below.clone();
        let at: HashMap<&str, usize> = below.iter().enumerate().map(|(i, (key, _))| (key.text.as_str(), i)).collect();
        for (key, value) in above {
            match at.get(key.text.as_str()) {
                Some(&index) => entries[index] = (key.clone(), entries[index].1.overlaid(value)),
                None => entries.push((key.clone(), value.clone())),
            }
        }
        Node { place: over.place, value: Value::Map(entries) }
    }

    /// The node that a JSON pointer leads to, or the last one on the way that exists.
    pub fn nearest(&self, pointer: &str) -> &Node {
        let mut node = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.value {
                Value::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                Value::Map(entries) => entries.iter().find(|(key, _)| key.text == part).map(|(_, value)| value),
                Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Text(_) => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always a JSON string")
}
