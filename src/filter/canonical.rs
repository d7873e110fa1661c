//! A filter as text that parses to the same filter.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::{Filter, IdPrefix, Moment, Values};

/// A value as it stands in a filter: in quotes when it needs them.
pub fn quote(value: &str) -> Cow<'_, str> {
    let is_plain = |character: char| !character.is_whitespace() && !matches!(character, '"' | ',' | '\\');
    if !value.is_empty() && value.chars().all(is_plain) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(in_quotes(value))
}

fn in_quotes(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A part of a path: in quotes when it has what ends one.
fn path_part(part: &str) -> Cow<'_, str> {
    match quote(part) {
        Cow::Borrowed(part) if !part.contains(['.', ':']) => Cow::Borrowed(part),
        _ => Cow::Owned(in_quotes(part)),
    }
}

/// A free text: in quotes when it would be read as something else.
fn free(text: &str) -> Cow<'_, str> {
    match quote(text) {
        Cow::Borrowed(plain) if !plain.contains(':') && !plain.starts_with('-') && !is_id(plain) => {
            Cow::Borrowed(plain)
        }
        _ => Cow::Owned(in_quotes(text)),
    }
}

/// Whether free text is a task id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() >= 32 && IdPrefix::parse(text).is_some_and(|prefix| prefix.id().is_some())
}

struct Writer<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    is_first: bool,
}

impl Writer<'_, '_> {
    fn word(&mut self, word: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.to.write_str(" ")?;
        }
        self.to.write_str(word)
    }

    fn values<T: Display>(&mut self, key: &str, values: &Values<T>) -> fmt::Result {
        for (sign, values) in [("", &values.any), ("-", &values.none)] {
            if values.is_empty() {
                continue;
            }
            let texts: Vec<String> = values.iter().map(|value| quote(&value.to_string()).into_owned()).collect();
            self.word(&format!("{sign}{key}:{}", texts.join(",")))?;
        }
        Ok(())
    }

    fn moment(&mut self, key: &str, moment: Option<Moment>) -> fmt::Result {
        moment.map_or(Ok(()), |moment| self.word(&format!("{key}:{moment}")))
    }
}

impl Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer { to: formatter, is_first: true };
        writer.values("state", &self.state)?;
        writer.values("namespace", &self.namespace)?;
        writer.values("name", &self.name)?;
        writer.values("version", &self.version)?;
        writer.values("tag", &self.tag)?;
        writer.values("key", &self.key)?;
        writer.values("id", &self.id)?;
        writer.values("initiator", &self.initiator)?;
        writer.values("correlation", &self.correlation)?;
        writer.values("priority", &self.priority)?;
        writer.moment("since", self.since)?;
        writer.moment("until", self.until)?;
        for (path, values) in &self.context {
            let parts: Vec<_> = path.iter().map(|part| path_part(part)).collect();
            writer.values(&format!("ctx.{}", parts.join(".")), values)?;
        }
        writer.values("step", &self.step)?;
        writer.values("step.state", &self.step_state)?;
        writer.values("worker", &self.worker)?;
        writer.values("error", &self.error)?;
        for (sign, texts) in [("", &self.text.any), ("-", &self.text.none)] {
            for text in texts {
                writer.word(&format!("{sign}{}", free(text)))?;
            }
        }
        Ok(())
    }
}
