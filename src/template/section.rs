//! Typed access to the maps of a definition: each value is read with its type and range, or becomes a problem at its
//! place. Problems are collected, so that one run shows them all.

use super::node::{Key, Node, Place, Value};
use super::{PROBLEMS_MAX, Problem};

/// Longest name of a namespace, template, step, environment or event. Fits every index, topic and screen.
const NAME_BYTES_MAX: usize = 128;

/// Longest handler class.
const CLASS_BYTES_MAX: usize = 255;

/// Longest time that a definition may give, in seconds: a day. What takes longer is a step that starts something, and
/// another one that looks whether it has ended.
const SECONDS_MAX: u64 = 24 * 60 * 60;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<(Place, String, String)>);

impl Problems {
    /// Adds a problem, unless there are more than enough already.
    pub fn add(&mut self, place: Place, key: impl Into<String>, message: impl Into<String>) {
        if !self.is_full() {
            self.0.push((place, key.into(), message.into()));
        }
    }

    /// Whether nothing more is added: some more than are shown, because the first found need not be the first in the
    /// file.
    pub fn is_full(&self) -> bool {
        self.0.len() >= 10 * PROBLEMS_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what `others` found and this list does not have yet; `prefix` says when it applies.
    pub fn add_new(&mut self, others: Problems, prefix: &str) {
        for (place, key, message) in others.0 {
            if !self.0.iter().any(|known| known.0 == place && known.1 == key && known.2 == message) {
                self.add(place, key, format!("{prefix}{message}"));
            }
        }
    }

    pub fn into_list(mut self, source: &str) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0.truncate(PROBLEMS_MAX);
        let problem = |(Place { line, column }, key, message)| {
            let source = source.to_owned();
            Problem { source, line, column, key, message }
        };
        self.0.into_iter().map(problem).collect()
    }
}

/// A value together with where it was said, for checks that come later.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
    pub path: String,
}

/// A map whose keys are known.
pub struct Section<'a> {
    entries: &'a [(Key, Node)],
    keys: &'static [&'static str],
    place: Place,
    path: String,
}

/// A value of a section, and the path of keys that leads to it.
#[derive(Clone)]
pub struct Field<'a> {
    pub node: &'a Node,
    pub path: String,
}

impl<'a> Section<'a> {
    /// Opens a map; keys that are not in `keys` are problems. `None` when the value is no map.
    pub fn open(field: &Field<'a>, keys: &'static [&'static str], problems: &mut Problems) -> Option<Section<'a>> {
        let entries = field.map(problems)?;
        let unknown = entries.iter().filter(|(key, _)| !keys.contains(&key.text.as_str()));
        for (key, _) in unknown.take(PROBLEMS_MAX) {
            let message = format!("unknown key; known here: {}", keys.join(", "));
            problems.add(key.place, join(&field.path, &key.text), message);
        }
        Some(Section { entries, keys, place: field.node.place, path: field.path.clone() })
    }

    /// The value of a key; `None` when it is absent or has no value.
    pub fn get(&self, key: &'static str) -> Option<Field<'a>> {
        debug_assert!(self.keys.contains(&key), "{key} is a known key");
        let (_, node) = self.entries.iter().find(|(known, _)| known.text == key)?;
        (!matches!(node.value, Value::Null)).then(|| Field { node, path: join(&self.path, key) })
    }

    /// The value of a key that must be there.
    pub fn require(&self, key: &'static str, problems: &mut Problems) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            let empty = self.entries.iter().find(|(known, _)| known.text == key);
            let place = empty.map_or(self.place, |(known, _)| known.place);
            problems.add(place, join(&self.path, key), "the key is required");
        }
        field
    }

    /// The value of a key, read with `read`.
    pub fn read<T>(
        &self,
        key: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(&Field<'a>, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|field| read(&field, problems))
    }
}

impl<'a> Field<'a> {
    /// Adds a problem with this value.
    pub fn refuse(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(self.node.place, self.path.clone(), message);
    }

    /// Some text.
    pub fn text(&self, problems: &mut Problems) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Boolean(_) => {
                self.refuse(problems, format!("expected text, found {}; quote it", describe(self.node)));
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => self.mismatch("text", problems),
        }
    }

    /// Text that may name something: see [`is_name`]. A bad name is a problem and is returned all the same, so that
    /// what refers to it is not a second one.
    pub fn name(&self, problems: &mut Problems) -> Option<At<String>> {
        let value = self.text(problems)?;
        if !is_name(&value) {
            self.refuse(problems, bad_name(&value));
        }
        Some(At { value, place: self.node.place, path: self.path.clone() })
    }

    /// Text without spaces, as a class or other handler is called.
    pub fn class(&self, problems: &mut Problems) -> Option<String> {
        let class = self.text(problems)?;
        if class.is_empty()
            || class.len() > CLASS_BYTES_MAX
            || class.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            self.refuse(problems, format!("a class is 1 to {CLASS_BYTES_MAX} bytes of text without spaces"));
            return None;
        }
        Some(class)
    }

    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(value) => Some(*value),
            _ => self.mismatch("true or false", problems),
        }
    }

    /// A whole number from 1 to `max`.
    pub fn count(&self, max: u32, problems: &mut Problems) -> Option<u32> {
        let expected = format!("a whole number from 1 to {max}");
        let number = match &self.node.value {
            Value::Number(text) => text.parse().ok().filter(|number| (1..=max).contains(number)),
            _ => None,
        };
        number.or_else(|| self.mismatch(&expected, problems))
    }

    /// A time in seconds, greater than 0 and at most a day, as milliseconds.
    pub fn seconds(&self, problems: &mut Problems) -> Option<u64> {
        let expected = format!("a number of seconds, greater than 0 and at most {SECONDS_MAX}");
        let seconds: Option<f64> = match &self.node.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        };
        match seconds.filter(|seconds| *seconds > 0.0 && *seconds <= SECONDS_MAX as f64) {
            Some(seconds) => Some(((seconds * 1000.0).round() as u64).max(1)),
            None => self.mismatch(&expected, problems),
        }
    }

    /// The items of a list.
    pub fn list(&self, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(index, node)| Field { node, path: format!("{}[{index}]", self.path) };
                Some(items.iter().enumerate().map(item).collect())
            }
            _ => self.mismatch("a list", problems),
        }
    }

    /// A list of distinct names.
    pub fn names(&self, problems: &mut Problems) -> Option<Vec<At<String>>> {
        let items = self.list(problems)?;
        Some(items.iter().filter_map(|item| item.name(problems)).collect())
    }

    /// The entries of a map.
    pub fn map(&self, problems: &mut Problems) -> Option<&'a [(Key, Node)]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            _ => self.mismatch("a map", problems),
        }
    }

    /// The values of a map whose keys are free, each with its key.
    pub fn named_fields(&self, problems: &mut Problems) -> Option<Vec<(&'a Key, Field<'a>)>> {
        let entries = self.map(problems)?;
        Some(entries.iter().map(|(key, node)| (key, Field { node, path: join(&self.path, &key.text) })).collect())
    }

    /// A map that becomes a JSON object of at most `bytes_max` bytes.
    pub fn object(&self, bytes_max: usize, problems: &mut Problems) -> Option<At<Node>> {
        self.map(problems)?;
        let bytes = self.node.to_json().len();
        if bytes > bytes_max {
            self.refuse(problems, format!("{bytes} bytes of JSON are more than the {bytes_max} allowed here"));
            return None;
        }
        Some(At { value: self.node.clone(), place: self.node.place, path: self.path.clone() })
    }

    /// Adds the problem that this is not what was expected.
    pub fn mismatch<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        self.refuse(problems, format!("expected {expected}, found {}", describe(self.node)));
        None
    }
}

/// Whether text may name something: 1 to 128 of letters, digits, `_`, `-` and `.`, all ASCII, first a letter, a digit
/// or `_`.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The problem with text that is no name.
pub fn bad_name(text: &str) -> String {
    format!(
        "`{}` is not a name: 1 to {NAME_BYTES_MAX} ASCII letters, digits, `_`, `-` or `.`, not first `-` or `.`",
        shortened(text)
    )
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn describe(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Boolean(value) => format!("`{value}`"),
        Value::Number(text) => format!("the number `{}`", shortened(text)),
        Value::Text(text) => format!("the text `{}`", shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
