//! Template definitions: from YAML text to what the engine runs, or to a list of problems with their places.
//! Nothing in a definition is ignored: each key is honoured, or refused with file, line and column.
//!
//! A definition is one YAML 1.2 document (core schema: `yes` is text, `1_000` is text). An optional key without a
//! value counts as absent. Anchors and aliases work; tags and merge keys do not. A *name* is 1 to 128 ASCII letters,
//! digits, `_`, `-`, `.`, not starting with `-` or `.`.
//!
//! | key | value | meaning, default |
//! |---|---|---|
//! | `namespace_name`, `name` | name, required | identity |
//! | `version` | semantic version, required | identity; a version never changes its content |
//! | `task_handler_class` | text without spaces | class that may adjust or refuse a request |
//! | `module_namespace`, `description` | text | for people |
//! | `default_dependent_system` | text | `dependent_system` of steps that give none |
//! | `named_steps` | list of names | must be the names in `step_templates`, in any order |
//! | `schema` | map | JSON schema of the context (2020-12, or as `$schema` says); formats count |
//! | `default_context`, `default_options` | map | laid under the request's, map by map; it wins, with `null` too |
//! | `handler_config` | map | configuration of the task handler |
//! | `custom_events` | list of names | events that every step may publish |
//! | `step_templates` | list, required | the steps, below |
//! | `environments` | map by name | overrides, below |
//!
//! | key of a step | value | meaning, default |
//! |---|---|---|
//! | `name` | name, required | unique in the definition |
//! | `handler_class` | text without spaces, required | what the worker runs |
//! | `description`, `dependent_system` | text | for people |
//! | `depends_on_step`, `depends_on_steps` | name, list of names | the steps that this one waits for, taken together |
//! | `default_retryable` | boolean | whether a failure is tried again: true; false means one attempt |
//! | `default_retry_limit` | 1 to 10,000 | most attempts, the first one included: 3 |
//! | `retry_backoff` | kind or map | exponential from 1 s to 300 s |
//! | `skippable` | boolean | whether a request may bypass the step: false |
//! | `timeout_seconds` | number, up to a day | time from dispatch until an attempt is given up: 300 |
//! | `handler_config` | map | the step's inputs: `{}` |
//! | `custom_events` | list of names | events that this step may publish, besides those of the definition |
//!
//! A kind of `retry_backoff` is `exponential`, `linear` or `fixed`; a map has `kind`, `base_seconds`, `cap_seconds`.
//!
//! | key of an environment | value | meaning |
//! |---|---|---|
//! | `step_templates` | list of steps, `name` required | keys that replace those of the step; maps are merged |
//! | `step_overrides` | map by step name | `retry_limit`, `timeout_seconds`, `handler_config`; over `step_templates` |
//! | `default_context`, `default_options` | map | laid over those of the definition, map by map |

mod context;
mod definition;
mod node;
mod scalar;
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
