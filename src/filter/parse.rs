//! From text to a filter, character by character.

use super::error::cut;
use super::values::{IdPrefix, PriorityRange, StepState, TaskState};
use super::{Error, FILTER_BYTES_MAX, Filter, KEYS, Moment, PATH_PARTS_MAX, Problem, VALUES_MAX, canonical};

/// What a key before a colon means.
enum Key {
    Named(&'static str),
    Context(Vec<String>),
}

/// A value and where it begins.
struct Value {
    text: String,
    position: usize,
    quoted: bool,
}

struct Parser {
    characters: Vec<char>,
    /// Index of the next character.
    at: usize,
    values: usize,
    filter: Filter,
}

pub(super) fn parse(text: &str) -> Result<Filter, Error> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error { position: 1, problem: Problem::TooLong });
    }
    let mut parser = Parser { characters: text.chars().collect(), at: 0, values: 0, filter: Filter::default() };
    if let Some(nul) = parser.characters.iter().position(|character| *character == '\0') {
        return Err(Error { position: nul + 1, problem: Problem::Nul });
    }
    while parser.skip_blanks() {
        parser.term()?;
    }
    // A path whose values were all repeated is there once; nothing else can be empty.
    Ok(parser.filter)
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    /// Whether something follows.
    fn skip_blanks(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.peek().is_some()
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn error<T>(&self, at: usize, problem: Problem) -> Result<T, Error> {
        Err(Error { position: at + 1, problem })
    }

    fn term(&mut self) -> Result<(), Error> {
        let start = self.at;
        let negated = self.take('-');
        let key_at = self.at;
        if !self.has_key() {
            let value = self.value("", false)?;
            if !self.ends_word() {
                return self.error(self.at, Problem::AfterQuote);
            }
            return self.text(negated, value);
        }
        let key = self.key(key_at)?;
        if let (true, Key::Named(name @ ("since" | "until"))) = (negated, &key) {
            let instead = if *name == "since" { "until" } else { "since" };
            return self.error(start, Problem::NotNegatable { key: name, instead });
        }
        loop {
            let value = match &key {
                Key::Named(name) => self.value(name, true)?,
                Key::Context(_) => self.value("ctx", true)?,
            };
            self.count(value.position)?;
            match &key {
                Key::Named(name) => self.add(name, negated, value)?,
                Key::Context(path) => self.filter.context_at(path.clone()).add(negated, value.text),
            }
            if !self.take(',') {
                break;
            }
        }
        if self.ends_word() { Ok(()) } else { self.error(self.at, Problem::AfterQuote) }
    }

    fn ends_word(&self) -> bool {
        self.peek().is_none_or(char::is_whitespace)
    }

    fn count(&mut self, position: usize) -> Result<(), Error> {
        self.values += 1;
        if self.values > VALUES_MAX { self.error(position, Problem::TooManyValues) } else { Ok(()) }
    }

    /// Whether the word that begins here has a colon outside of quotes, and does not begin with a quote.
    fn has_key(&self) -> bool {
        if self.peek() == Some('"') {
            return false;
        }
        let mut in_quotes = false;
        let mut rest = self.characters[self.at..].iter();
        while let Some(character) = rest.next() {
            match character {
                '\\' => _ = rest.next(),
                '"' => in_quotes = !in_quotes,
                ':' if !in_quotes => return true,
                blank if blank.is_whitespace() && !in_quotes => return false,
                _ => {}
            }
        }
        false
    }

    /// The key that begins here, and its colon.
    fn key(&mut self, start: usize) -> Result<Key, Error> {
        if self.characters[start..].starts_with(&['c', 't', 'x', '.']) {
            self.at = start + 4;
            return self.path().map(Key::Context);
        }
        let length = self.characters[start..].iter().take_while(|character| **character != ':').count();
        let key: String = self.characters[start..start + length].iter().collect();
        match KEYS.iter().find(|known| **known == key && !known.ends_with('.')) {
            Some(known) => {
                self.at = start + length + 1;
                Ok(Key::Named(known))
            }
            None => self.error(start, Problem::UnknownKey { nearest: nearest(&key), key: cut(&key) }),
        }
    }

    /// A path into the context up to its colon.
    fn path(&mut self) -> Result<Vec<String>, Error> {
        let start = self.at;
        let mut path = Vec::new();
        loop {
            let part = if self.peek() == Some('"') {
                self.quoted()?
            } else {
                let mut part = String::new();
                while let Some(character) = self.peek().filter(|character| !matches!(character, '.' | ':' | '"')) {
                    if character.is_whitespace() {
                        break;
                    }
                    self.at += 1;
                    part.push(character);
                }
                if part.is_empty() {
                    return self.error(self.at, Problem::MissingValue { key: "ctx".to_owned() });
                }
                part
            };
            path.push(part);
            if path.len() > PATH_PARTS_MAX {
                return self.error(start, Problem::PathTooLong);
            }
            match self.peek() {
                Some('.') => self.at += 1,
                Some(':') => {
                    self.at += 1;
                    return Ok(path);
                }
                _ => return self.error(self.at, Problem::AfterQuote),
            }
        }
    }

    /// A value, in quotes or up to a blank; in a list also up to a comma.
    fn value(&mut self, key: &str, in_list: bool) -> Result<Value, Error> {
        let position = self.at;
        if self.peek() == Some('"') {
            return Ok(Value { text: self.quoted()?, position, quoted: true });
        }
        let mut text = String::new();
        while let Some(character) = self.peek() {
            if character.is_whitespace() || character == '"' || (in_list && character == ',') {
                break;
            }
            self.at += 1;
            // Outside of quotes a backslash makes the next character one of the value, whatever it is.
            match (character, self.peek()) {
                ('\\', Some(next)) => {
                    self.at += 1;
                    text.push(next);
                }
                _ => text.push(character),
            }
        }
        if text.is_empty() {
            return self.error(position, Problem::MissingValue { key: key.to_owned() });
        }
        Ok(Value { text, position, quoted: false })
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(character) = self.peek() {
            self.at += 1;
            match (character, self.peek()) {
                ('"', _) => return Ok(text),
                ('\\', Some(next @ ('"' | '\\'))) => {
                    self.at += 1;
                    text.push(next);
                }
                _ => text.push(character),
            }
        }
        self.error(start, Problem::UnclosedQuote)
    }

    fn text(&mut self, negated: bool, value: Value) -> Result<(), Error> {
        self.count(value.position)?;
        if value.text.is_empty() {
            return self.error(value.position, Problem::MissingValue { key: String::new() });
        }
        match IdPrefix::parse(&value.text) {
            Some(id) if !value.quoted && canonical::is_id(&value.text) => self.filter.id.add(negated, id),
            _ => self.filter.text.add(negated, value.text),
        }
        Ok(())
    }

    fn add(&mut self, key: &'static str, negated: bool, value: Value) -> Result<(), Error> {
        let Value { text, position, .. } = value;
        let bad = |expected: &'static str| {
            let problem = Problem::BadValue { key, value: cut(&text), expected };
            Error { position: position + 1, problem }
        };
        let unknown = |allowed: &'static [&'static str]| {
            let problem = Problem::UnknownValue { key, value: cut(&text), allowed };
            Error { position: position + 1, problem }
        };
        let filter = &mut self.filter;
        match key {
            "state" => filter.state.add(negated, TaskState::parse(&text).ok_or_else(|| unknown(TaskState::NAMES))?),
            "step.state" => {
                let state = StepState::parse(&text).ok_or_else(|| unknown(StepState::NAMES))?;
                filter.step_state.add(negated, state);
            }
            "id" => {
                let id = IdPrefix::parse(&text).ok_or_else(|| bad("a task id or its beginning"))?;
                filter.id.add(negated, id);
            }
            "priority" => {
                let range = PriorityRange::parse(&text);
                filter.priority.add(negated, range.ok_or_else(|| bad("a number, `>5`, `<=5` or `1..9`"))?);
            }
            "since" | "until" => {
                let moment = Moment::parse(&text).ok_or_else(|| {
                    bad("a time such as 2026-01-31, 2026-01-31T08:00 or 2026-01-31T08:00:00Z, or 30m, 1h, 7d")
                })?;
                let place = if key == "since" { &mut filter.since } else { &mut filter.until };
                if place.is_some_and(|known| known != moment) {
                    return self.error(position, Problem::Repeated { key });
                }
                *place = Some(moment);
            }
            "namespace" => filter.namespace.add(negated, text),
            "name" => filter.name.add(negated, text),
            "version" => filter.version.add(negated, text),
            "tag" => filter.tag.add(negated, text),
            "key" => filter.key.add(negated, text),
            "initiator" => filter.initiator.add(negated, text),
            "correlation" => filter.correlation.add(negated, text),
            "step" => filter.step.add(negated, text),
            "worker" => filter.worker.add(negated, text),
            _ => filter.error.add(negated, text),
        }
        Ok(())
    }
}

/// The known key with the fewest changes to this one, if they are few.
fn nearest(key: &str) -> Option<&'static str> {
    // What is much longer than all keys is like none, and comparing takes the product of both lengths.
    if key.chars().count() > 20 {
        return None;
    }
    let most = 2.min(key.chars().count() / 3);
    let distances = KEYS.iter().map(|known| (changes(&key.to_lowercase(), known), *known));
    distances.filter(|(changes, _)| *changes <= most).min().map(|(_, known)| known)
}

/// Characters to insert, delete, replace or swap with their neighbour to get from one word to another (optimal string
/// alignment).
fn changes(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    rows[0] = (0..=to.len()).collect();
    for left in 1..=from.len() {
        rows[left][0] = left;
        for right in 1..=to.len() {
            let replaced = rows[left - 1][right - 1] + usize::from(from[left - 1] != to[right - 1]);
            let mut fewest = replaced.min(rows[left - 1][right] + 1).min(rows[left][right - 1] + 1);
            let is_swapped =
                left > 1 && right > 1 && from[left - 1] == to[right - 2] && from[left - 2] == to[right - 1];
            if is_swapped {
                fewest = fewest.min(rows[left - 2][right - 2] + 1);
            }
            rows[left][right] = fewest;
        }
    }
    rows[from.len()][to.len()]
}
