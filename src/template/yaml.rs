//! YAML 1.2 text to a tree whose nodes know their places. Scalars follow the core schema; numbers stay text, so that
//! a decimal or a large integer is the same digits in the JSON that is made of it.
//! Refused: tags, merge keys, keys that are not text, duplicate keys, several documents, what JSON cannot say.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::node::{Key, Node, Place, Value};
use super::scalar::plain_value;
use super::section::Problems;

/// Deepest nesting: far deeper than a person writes, shallow enough for recursion on any thread's stack.
const DEPTH_MAX: usize = 64;

/// Memory that a tree may take, roughly counted: 16 times the largest text. Aliases copy, and this stops them.
const WEIGHT_MAX: usize = 16 * super::DEFINITION_BYTES_MAX;

/// Longest key, which is repeated in the paths of problems.
const KEY_BYTES_MAX: usize = 1024;

/// Reads one document. `None` when it could not be read to its end; smaller problems leave a tree behind.
pub fn read(yaml: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder { open: Vec::new(), root: None, anchors: HashMap::new(), weight: 0, problems };
    let mut documents = 0;
    for event in Parser::new_from_str(yaml) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.refuse(place(error.marker()), error.info());
                return None;
            }
        };
        let place = place(&span.start);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents > 1 {
            builder.problems.add(place, "", "a second document starts here; a file holds one definition");
            return None;
        }
        builder.take(event, place)?;
    }
    if builder.root.is_none() {
        builder.problems.add(Place { line: 1, column: 1 }, "", "the definition is empty");
    }
    builder.root
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

struct Builder<'p> {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    problems: &'p mut Problems,
}

/// A list or map whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, first: HashMap<String, Place>, key: Option<Key> },
}

impl Builder<'_> {
    /// `None` when reading cannot go on.
    fn take(&mut self, event: Event<'_>, place: Place) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.scalar(&text, style, anchor, place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.start(Open { place, anchor, content: Content::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let content = Content::Map { entries: Vec::new(), first: HashMap::new(), key: None };
                self.start(Open { place, anchor, content })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { place, anchor, content } = self.open.pop()?;
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, .. } => Value::Map(entries),
                };
                self.put(Node { place, value }, anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Some(())
            }
        }
    }

    fn start(&mut self, open: Open) -> Option<()> {
        if self.expects_key() {
            self.refuse(open.place, "a key must be text");
            return None;
        }
        if self.open.len() >= DEPTH_MAX {
            self.refuse(open.place, &format!("nested more than {DEPTH_MAX} deep"));
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, place: Place) -> Option<()> {
        if text.contains('\0') {
            self.refuse(place, "text must not contain the NUL character, which Postgres cannot store");
        }
        let plain = style == ScalarStyle::Plain;
        if self.expects_key() {
            if plain && text == "<<" {
                self.refuse(place, "merge keys (`<<`) are not part of YAML 1.2; write the keys out");
            } else if plain && !matches!(plain_value(text), Ok(Value::Text(_))) {
                self.refuse(place, &format!("a key must be text; quote `{text}`"));
            }
            return self.key(Key { place, text: text.to_owned() });
        }
        // The parser reports an absent value where the next token is, lines later; the key is the better place.
        let absent = plain && text.is_empty();
        let place = self.open_key().filter(|_| absent).map_or(place, |key| key.place);
        let value = if plain { plain_value(text) } else { Ok(Value::Text(text.to_owned())) };
        let value = value.unwrap_or_else(|reason| {
            self.refuse(place, &reason);
            Value::Null
        });
        self.put(Node { place, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Option<()> {
        if self.expects_key() {
            self.refuse(place, "a key must be text, not an alias");
            return None;
        }
        let Some(node) = self.anchors.get(&anchor) else {
            self.refuse(place, "the alias stands within its own anchor");
            return None;
        };
        let (weight, height) = measure(node);
        if self.open.len() + height > DEPTH_MAX {
            self.refuse(place, &format!("nested more than {DEPTH_MAX} deep through aliases"));
            return None;
        }
        self.weigh(weight, place)?;
        let copy = self.anchors.get(&anchor).cloned()?;
        self.put(copy, 0)
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn open_key(&self) -> Option<&Key> {
        match self.open.last() {
            Some(Open { content: Content::Map { key, .. }, .. }) => key.as_ref(),
            _ => None,
        }
    }

    fn key(&mut self, new: Key) -> Option<()> {
        if new.text.len() > KEY_BYTES_MAX {
            self.refuse(new.place, &format!("a key of more than {KEY_BYTES_MAX} bytes"));
            return None;
        }
        self.weigh(std::mem::size_of::<Key>() + 2 * new.text.len(), new.place)?;
        let Some(Open { content: Content::Map { first, key, .. }, .. }) = self.open.last_mut() else { return None };
        let earlier = first.get(&new.text).copied();
        first.entry(new.text.clone()).or_insert(new.place);
        let place = new.place;
        *key = Some(new);
        if let Some(earlier) = earlier {
            self.refuse(place, &format!("the key was given before, on line {}", earlier.line));
        }
        Some(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.weigh(own_weight(&node), node.place)?;
        if anchor != 0 {
            self.weigh(measure(&node).0, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, .. }) => entries.push((key.take()?, node)),
        }
        Some(())
    }

    fn weigh(&mut self, weight: usize, place: Place) -> Option<()> {
        self.weight += weight;
        if self.weight > WEIGHT_MAX {
            self.refuse(place, "the definition grows too large in memory: too many values or too many aliases");
            return None;
        }
        Some(())
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            self.refuse(place, "tags are not supported; quote what shall be text");
        }
    }

    /// Adds a problem with the value that is being read as its key.
    fn refuse(&mut self, place: Place, message: &str) {
        if self.problems.is_full() {
            return;
        }
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.text);
                }
                Content::Map { key: None, .. } => {}
            }
        }
        self.problems.add(place, path, message);
    }
}

fn own_weight(node: &Node) -> usize {
    std::mem::size_of::<(Key, Node)>()
        + match &node.value {
            Value::Number(text) | Value::Text(text) => text.len(),
            Value::Null | Value::Boolean(_) | Value::List(_) | Value::Map(_) => 0,
        }
}

/// Weight and height of a tree.
fn measure(node: &Node) -> (usize, usize) {
    let (mut weight, mut height) = (own_weight(node), 0);
    let mut add = |child: &Node| {
        let (child_weight, child_height) = measure(child);
        weight += child_weight;
        height = height.max(child_height);
    };
    match &node.value {
        Value::List(items) => items.iter().for_each(add),
        Value::Map(entries) => entries.iter().for_each(|(_, child)| add(child)),
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Text(_) => return (weight, 0),
    }
    (weight, height + 1)
}

#[cfg(test)]
mod tests {
    use super::super::section::Problems;
    use super::read;

    fn json(yaml: &str) -> String {
        let mut problems = Problems::default();
        let node = read(yaml, &mut problems);
        let problems = problems.into_list("t");
        assert!(problems.is_empty(), "{yaml}: {problems:?}");
        node.expect("a tree").to_json()
    }

    fn problem(yaml: &str) -> String {
        let mut problems = Problems::default();
        read(yaml, &mut problems);
        problems.into_list("t").first().expect("a problem").to_string()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (yaml, expected) in [
            ("109.97", "109.97"),
            ("340282366920938463463374607431768211456", "340282366920938463463374607431768211456"),
            ("1e400", "1e400"),
            ("1E5", "1E5"),
            ("-0.0", "-0.0"),
            ("1.50", "1.50"),
            ("+12", "12"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5.0"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("0", "0"),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (yaml, expected) in [
            ("[~, null, Null]", "[null,null,null]"),
            ("[true, False, yes, off]", "[true,false,\"yes\",\"off\"]"),
            ("['12', \"true\", 1.0.0, 1_000, 12:30, -a, 1e, 0x, .]", {
                "[\"12\",\"true\",\"1.0.0\",\"1_000\",\"12:30\",\"-a\",\"1e\",\"0x\",\".\"]"
            }),
            ("a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}"),
            ("a: &x {b: 1}\nc: *x\n", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}"),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        for (yaml, expected) in [
            ("a: .inf", "t:1:4: a: JSON has no infinity"),
            ("a: .nan", "t:1:4: a: JSON has no NaN"),
            ("a: 007", "t:1:4: a: `007` starts with a zero"),
            ("a: \"x\\0\"", "t:1:4: a: text must not contain the NUL"),
            ("a: !ruby/object x", "t:1:4: a: tags"),
            ("a: 1\nb: 2\na: 3", "t:3:1: a: the key was given before, on line 1"),
            ("a: {1: x}", "t:1:5: a: a key must be text; quote `1`"),
            ("a: {[1]: x}", "t:1:5: a: a key must be text"),
            ("a: &x {}\nb:\n  <<: *x", "t:3:3: b: merge keys"),
            ("a: &x [*x]", "t:1:8: a[0]: the alias stands within its own anchor"),
            ("a: 1\n---\nb: 2", "t:2:1: a second document"),
            ("a: [1", "t:2:1: a[1]: while parsing a flow sequence"),
            ("", "t:1:1: the definition is empty"),
            ("# nothing\n", "t:1:1: the definition is empty"),
        ] {
            let problem = problem(yaml);
            assert!(problem.starts_with(expected), "{yaml:?}: {problem}");
        }
    }

    #[test]
    fn depth_and_growth_are_bounded() {
        assert!(problem(&format!("{}{}", "[".repeat(65), "]".repeat(65))).contains("nested more than 64 deep"));
        let aliased = format!("a: &x {}1{}\nb: {}*x{}", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
        assert!(problem(&aliased).contains("through aliases"));
        let mut laughs = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n".to_owned();
        for level in 1..12 {
            let row = vec![format!("*a{}", level - 1); 9].join(",");
            laughs.push_str(&format!("a{level}: &a{level} [{row}]\n"));
        }
        assert!(problem(&laughs).contains("grows too large"));
        let long = format!("a: &x {}\nb: [{}]", "x".repeat(1_000_000), vec!["*x"; 1_000].join(","));
        assert!(problem(&long).contains("grows too large"));
    }
}
