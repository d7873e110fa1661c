//! Template definitions: from YAML text to what the engine runs, or to a list of problems with their places.
//!
//! Nothing in a definition is ignored: each key is honoured, or refused with file, line and column. An optional key
//! without a value counts as absent. `ARCHITECTURE.md` has the keys; their types and ranges are in `definition` and
//! `step`.

mod context;
mod definition;
mod section;
mod step;
mod yaml;

use std::fmt;
use std::sync::Arc;

use tasker_engine::Template;

/// Largest definition in bytes. A step takes about 300 bytes, so that 10,000 of them fit with room to spare; a
/// definition travels in one message and is kept in memory with its template.
pub const DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most problems that are reported at once: more than anybody reads before the next try.
pub const PROBLEMS_MAX: usize = 100;

/// A template together with everything else that its definition says.
#[derive(Clone, Debug)]
pub struct Definition {
    /// What the engine runs.
    pub template: Arc<Template>,
    /// The definition's text.
    pub yaml: Arc<str>,
    /// SHA-256 of the text: the same version with another digest is another content.
    pub digest: [u8; 32],
    /// For people.
    pub description: Option<String>,
    /// Ruby class whose `initialize_task` may adjust or refuse a request.
    pub task_handler_class: Option<String>,
    /// Ruby module of the handlers, for people.
    pub module_namespace: Option<String>,
    /// The system that steps talk to which name none themselves.
    pub default_dependent_system: Option<String>,
    /// Configuration of the task handler: text of a JSON object.
    pub handler_config: Option<String>,
    /// Event names that every step may publish.
    pub custom_events: Vec<String>,
    /// The steps' descriptions, by step number.
    pub step_descriptions: Box<[Option<String>]>,
}

/// One thing that is wrong with a definition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to [`parse`].
    pub source: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key, for example `step_templates[2].timeout_seconds` (items count from 0); empty for the document.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: ", self.source, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Reads a definition. `source` names it in problems. The overrides of `environment` are applied when the definition
/// has a section for it; the sections of the other environments are checked all the same.
///
/// Problems are in the order of their places, at least one and at most [`PROBLEMS_MAX`].
pub fn parse(source: &str, yaml: &str, environment: Option<&str>) -> Result<Definition, Vec<Problem>> {
    let mut problems = section::Problems::default();
    let definition = definition::read(yaml, environment, &mut problems);
    match definition {
        Some(definition) if problems.is_empty() => Ok(definition),
        _ => Err(problems.into_list(source)),
    }
}
