//! What a template demands of a task's context and options, and what it adds to them.
//! Requests stay text: defaults are written between their bytes, so that no digit of theirs is ever re-encoded.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use jsonschema::{ValidationError, Validator};
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use tasker_engine::{ContextCheck, ContextError};

use super::definition::OBJECT_BYTES_MAX;
use super::node::{Node, Value, quoted};
use super::section::{Field, Problems};

/// Errors of one context that are told; the first few are what one can act on.
const ERRORS_MAX: usize = 3;

/// Longest message of one error: some list every property that they did not expect.
const MESSAGE_CHARS_MAX: usize = 300;

/// Steps of backtracking that a `pattern` may take: some milliseconds, then the context is refused.
const BACKTRACKING_MAX: usize = 100_000;

/// The context rules of one template.
#[derive(Debug)]
pub struct Rules {
    schema: Option<Validator>,
    context: Defaults,
    options: Defaults,
}

/// A JSON object to be laid under another one.
#[derive(Debug, Default)]
struct Defaults {
    entries: Vec<(String, DefaultValue)>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
enum DefaultValue {
    /// Any value, as JSON text.
    Text(String),
    /// An object, which is merged with the request's when that is an object too.
    Map(Defaults),
}

/// Compiles `schema`. Formats are checked; what would have to be fetched from elsewhere is refused.
///
/// The author of a schema is trusted in one point: references that fan out again and again make a check take
/// exponential time, and nothing stops it.
pub fn compile_schema(field: &Field<'_>, problems: &mut Problems) -> Option<Validator> {
    field.object(OBJECT_BYTES_MAX, problems)?;
    let schema = match serde_json::from_str(&field.node.to_json()) {
        Ok(schema) => schema,
        Err(error) => {
            field.refuse(problems, format!("not a JSON document: {error}"));
            return None;
        }
    };
    let patterns = jsonschema::PatternOptions::fancy_regex().backtrack_limit(BACKTRACKING_MAX);
    let options = jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(patterns);
    match options.build(&schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            let text = error.to_string();
            // A reference that leads nowhere is reported without its place.
            let lost = || find_reference(field.node, String::new(), &text);
            let pointer = match error.instance_path().as_str() {
                "" => lost().unwrap_or_default(),
                pointer => pointer.to_owned(),
            };
            let key = format!("{}{}", field.path, pointer.replace('/', "."));
            let reason = text.split(". Adjust configuration").next().unwrap_or(&text);
            let message = format!("not a valid JSON schema: {}", shortened(reason));
            problems.add(field.node.nearest(&pointer).place, key, message);
            None
        }
    }
}

/// The JSON pointer to the first reference whose target `message` names.
fn find_reference(node: &Node, pointer: String, message: &str) -> Option<String> {
    match &node.value {
        Value::List(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| find_reference(item, format!("{pointer}/{index}"), message))
        }
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let pointer = format!("{pointer}/{}", key.text.replace('~', "~0").replace('/', "~1"));
            match &value.value {
                Value::Text(target) if key.text.ends_with("$ref") || key.text.ends_with("Ref") => {
                    let target = target.trim_start_matches('#');
                    (!target.is_empty() && message.contains(target)).then_some(pointer)
                }
                _ => find_reference(value, pointer, message),
            }
        }),
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Text(_) => None,
    }
}

impl Rules {
    /// The rules, or `None` when there are none.
    pub fn new(schema: Option<Validator>, context: Option<Node>, options: Option<Node>) -> Option<Rules> {
        let context = context.as_ref().map(Defaults::new).unwrap_or_default();
        let options = options.as_ref().map(Defaults::new).unwrap_or_default();
        let any = schema.is_some() || !context.entries.is_empty() || !options.entries.is_empty();
        any.then_some(Rules { schema, context, options })
    }

    fn validate(&self, context: &str) -> Result<(), ContextError> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let instance = serde_json::from_str(context).map_err(|error| not_json(&error))?;
        if schema.is_valid(&instance) {
            return Ok(());
        }
        let mut errors = schema.iter_errors(&instance);
        let shown: Vec<ValidationError<'_>> = errors.by_ref().take(ERRORS_MAX).collect();
        let first = shown.first().map_or(String::new(), |error| error.instance_path().as_str().to_owned());
        let mut messages: Vec<String> = shown.iter().map(|error| describe(error, &first)).collect();
        if errors.next().is_some() {
            messages.push("and more".to_owned());
        }
        Err(ContextError { pointer: first, message: messages.join("; ") })
    }
}

impl ContextCheck for Rules {
    fn admit(&self, context: &str) -> Result<Option<Bytes>, ContextError> {
        let merged = self.context.laid_under(context)?;
        self.validate(merged.as_deref().unwrap_or(context))?;
        Ok(merged.map(Bytes::from))
    }

    fn options(&self, given: Option<&str>) -> Result<Option<Bytes>, ContextError> {
        let merged = self.options.laid_under(given.unwrap_or("{}"))?;
        Ok(merged.map(Bytes::from))
    }
}

impl Defaults {
    fn new(node: &Node) -> Defaults {
        let mut defaults = Defaults::default();
        let Value::Map(entries) = &node.value else { return defaults };
        for (key, value) in entries {
            let default = match &value.value {
                Value::Map(_) => DefaultValue::Map(Defaults::new(value)),
                _ => DefaultValue::Text(value.to_json()),
            };
            defaults.index.insert(key.text.clone(), defaults.entries.len());
            defaults.entries.push((key.text.clone(), default));
        }
        defaults
    }

    /// The request with what it lacks of the defaults; `None` when it lacks nothing. The request's entries come
    /// first, byte for byte; a key that it gives wins, with `null` too.
    fn laid_under(&self, request: &str) -> Result<Option<String>, ContextError> {
        let mut out = String::new();
        let changed = self.merge(request, &mut out).map_err(|error| not_json(&error))?;
        Ok(changed.then_some(out))
    }

    /// Returns whether anything was added.
    fn merge(&self, request: &str, out: &mut String) -> Result<bool, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(request);
        let entries = deserializer.deserialize_map(Entries)?;
        deserializer.end()?;
        let mut given = HashSet::with_capacity(entries.len());
        let mut added = false;
        out.push('{');
        for (key, value) in entries {
            separate(out);
            out.push_str(key.get());
            out.push(':');
            let name: String = serde_json::from_str(key.get())?;
            match self.index.get(&name).map(|&index| &self.entries[index].1) {
                Some(DefaultValue::Map(defaults)) if value.get().starts_with('{') => {
                    added |= defaults.merge(value.get(), out)?;
                }
                _ => out.push_str(value.get()),
            }
            given.insert(name);
        }
        for (key, default) in self.entries.iter().filter(|(key, _)| !given.contains(key)) {
            separate(out);
            added = true;
            out.push_str(&quoted(key));
            out.push(':');
            default.write(out);
        }
        out.push('}');
        Ok(added)
    }
}

impl DefaultValue {
    fn write(&self, out: &mut String) {
        match self {
            DefaultValue::Text(text) => out.push_str(text),
            DefaultValue::Map(defaults) => {
                out.push('{');
                for (key, value) in &defaults.entries {
                    separate(out);
                    out.push_str(&quoted(key));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// A comma, unless an object has just begun.
fn separate(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

/// Takes an object apart into the raw texts of its keys and values.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(&'de RawValue, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn not_json(error: &serde_json::Error) -> ContextError {
    ContextError { pointer: String::new(), message: error.to_string() }
}

/// One error, without the value itself: it may be a secret, and it may be long.
fn describe(error: &ValidationError<'_>, pointer: &str) -> String {
    let message = shortened(&error.masked().to_string());
    match error.instance_path().as_str() {
        path if path == pointer => message,
        path => format!("{path}: {message}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
