//! One entry of `step_templates`, of the definition itself or of an environment: what it says, what it says when
//! another is laid over it, and the engine's step that comes of it.

use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{Backoff, BackoffKind, StepTemplate};

use super::definition::OBJECT_BYTES_MAX;
use super::node::{Node, Value};
use super::section::{At, Field, Problems, Section};

/// Attempts of a step that does not say how many.
const RETRY_LIMIT_DEFAULT: u32 = 3;

/// Most attempts that a step may ask for. Each is a row in the database, and at the default cap of five minutes this
/// many take a month.
const RETRY_LIMIT_MAX: u32 = 10_000;

/// Time-out of a step that does not give one: long enough for a slow service, short enough that a handler which hangs
/// is noticed while somebody still remembers the deploy.
const TIMEOUT_MS_DEFAULT: u64 = 300_000;

/// Most events in one list. They travel with each step, and nobody subscribes to a hundred kinds.
const EVENTS_MAX: usize = 100;

const KEYS: &[&str] = &[
    "name",
    "handler_class",
    "description",
    "dependent_system",
    "depends_on_step",
    "depends_on_steps",
    "default_retryable",
    "default_retry_limit",
    "retry_backoff",
    "skippable",
    "timeout_seconds",
    "handler_config",
    "custom_events",
];

const OVERRIDE_KEYS: &[&str] = &["retry_limit", "handler_config", "timeout_seconds"];

const BACKOFF_KEYS: &[&str] = &["kind", "base_seconds", "cap_seconds"];

/// What was said about a step; what was not said is `None`.
#[derive(Clone, Debug)]
pub struct Draft {
    pub name: At<String>,
    pub handler_class: Option<String>,
    pub description: Option<String>,
    dependent_system: Option<String>,
    depends_on_step: Option<At<String>>,
    depends_on_steps: Option<Vec<At<String>>>,
    retryable: Option<bool>,
    retry_limit: Option<u32>,
    backoff: Option<BackoffDraft>,
    skippable: Option<bool>,
    timeout_ms: Option<u64>,
    handler_config: Option<At<Node>>,
    custom_events: Option<Vec<At<String>>>,
}

/// `retry_backoff`: one word, or a map of which any key may be missing.
#[derive(Clone, Debug)]
enum BackoffDraft {
    Kind(BackoffKind),
    Map { kind: Option<BackoffKind>, base_ms: Option<At<u64>>, cap_ms: Option<At<u64>> },
}

/// What steps inherit from the definition.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    pub dependent_system: Option<String>,
    pub custom_events: Vec<String>,
}

impl Draft {
    /// Reads an entry of `step_templates`; `whole` when it defines a step rather than overrides one.
    pub fn read(field: &Field<'_>, whole: bool, problems: &mut Problems) -> Option<Draft> {
        let section = Section::open(field, KEYS, problems)?;
        let name = section.require("name", problems).and_then(|field| field.name(problems));
        let class = if whole { section.require("handler_class", problems) } else { section.get("handler_class") };
        let draft = Draft {
            // Without a name the rest is still read for its problems.
            name: name.clone().unwrap_or(At { value: String::new(), place: field.node.place, path: String::new() }),
            handler_class: class.and_then(|field| field.class(problems)),
            description: section.read("description", problems, Field::text),
            dependent_system: section.read("dependent_system", problems, Field::text),
            depends_on_step: section.read("depends_on_step", problems, Field::name),
            depends_on_steps: section.read("depends_on_steps", problems, Field::names),
            retryable: section.read("default_retryable", problems, Field::boolean),
            retry_limit: section.read("default_retry_limit", problems, retry_limit),
            backoff: section.read("retry_backoff", problems, BackoffDraft::read),
            skippable: section.read("skippable", problems, Field::boolean),
            timeout_ms: section.read("timeout_seconds", problems, Field::seconds),
            handler_config: section.read("handler_config", problems, handler_config),
            custom_events: section.read("custom_events", problems, events),
        };
        name.map(|_| draft)
    }

    /// Reads an entry of an environment's `step_overrides`, whose key is the step's name.
    pub fn read_override(name: At<String>, field: &Field<'_>, problems: &mut Problems) -> Option<Draft> {
        let section = Section::open(field, OVERRIDE_KEYS, problems)?;
        Some(Draft {
            retry_limit: section.read("retry_limit", problems, retry_limit),
            timeout_ms: section.read("timeout_seconds", problems, Field::seconds),
            handler_config: section.read("handler_config", problems, handler_config),
            ..Draft::silent(name)
        })
    }

    fn silent(name: At<String>) -> Draft {
        Draft {
            name,
            handler_class: None,
            description: None,
            dependent_system: None,
            depends_on_step: None,
            depends_on_steps: None,
            retryable: None,
            retry_limit: None,
            backoff: None,
            skippable: None,
            timeout_ms: None,
            handler_config: None,
            custom_events: None,
        }
    }

    /// Lays `over` over this draft: what it says replaces what was said, and maps are merged.
    pub fn overlay(&mut self, over: &Draft) {
        fn replace<T: Clone>(below: &mut Option<T>, above: &Option<T>) {
            if above.is_some() {
                below.clone_from(above);
            }
        }
        replace(&mut self.handler_class, &over.handler_class);
        replace(&mut self.description, &over.description);
        replace(&mut self.dependent_system, &over.dependent_system);
        replace(&mut self.depends_on_step, &over.depends_on_step);
        replace(&mut self.depends_on_steps, &over.depends_on_steps);
        replace(&mut self.retryable, &over.retryable);
        replace(&mut self.retry_limit, &over.retry_limit);
        replace(&mut self.skippable, &over.skippable);
        replace(&mut self.timeout_ms, &over.timeout_ms);
        replace(&mut self.custom_events, &over.custom_events);
        self.backoff = match (self.backoff.take(), over.backoff.clone()) {
            (Some(below), Some(above)) => Some(below.overlaid(above)),
            (below, above) => above.or(below),
        };
        self.handler_config = match (self.handler_config.take(), &over.handler_config) {
            (Some(below), Some(above)) => Some(At { value: below.value.overlaid(&above.value), ..above.clone() }),
            (below, above) => above.clone().or(below),
        };
    }

    /// The step's parents as they were said, `depends_on_step` first.
    pub fn parents(&self) -> impl Iterator<Item = &At<String>> {
        self.depends_on_step.iter().chain(self.depends_on_steps.iter().flatten())
    }

    /// The engine's step.
    pub fn finish(&self, inherited: &Inherited, problems: &mut Problems) -> StepTemplate {
        let retryable = self.retryable.unwrap_or(true);
        let retry_limit = if retryable { self.retry_limit.unwrap_or(RETRY_LIMIT_DEFAULT) } else { 1 };
        let mut custom_events: Vec<Arc<str>> = Vec::new();
        let own_events = self.custom_events.iter().flatten().map(|event| &event.value);
        for event in own_events.chain(&inherited.custom_events) {
            if !custom_events.iter().any(|known| **known == **event) {
                custom_events.push(event.as_str().into());
            }
        }
        let config = self.handler_config.as_ref().map(|config| config.value.to_json());
        let system = self.dependent_system.as_deref().or(inherited.dependent_system.as_deref());
        StepTemplate {
            name: self.name.value.as_str().into(),
            handler_class: self.handler_class.as_deref().unwrap_or_default().into(),
            retryable,
            retry_limit,
            backoff: self.backoff.as_ref().map_or_else(Backoff::default, |backoff| backoff.finish(problems)),
            skippable: self.skippable.unwrap_or(false),
            timeout_ms: self.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
            inputs: config.map_or(Bytes::from_static(b"{}"), Bytes::from),
            custom_events: custom_events.into(),
            dependent_system: system.map(Arc::from),
        }
    }
}

/// Reads a `custom_events` list.
pub fn events(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<At<String>>> {
    match field.list(problems)?.len() {
        0..=EVENTS_MAX => field.names(problems),
        _ => field.mismatch(&format!("at most {EVENTS_MAX} events"), problems),
    }
}

fn retry_limit(field: &Field<'_>, problems: &mut Problems) -> Option<u32> {
    field.count(RETRY_LIMIT_MAX, problems)
}

fn handler_config(field: &Field<'_>, problems: &mut Problems) -> Option<At<Node>> {
    field.object(OBJECT_BYTES_MAX, problems)
}

impl BackoffDraft {
    fn read(field: &Field<'_>, problems: &mut Problems) -> Option<BackoffDraft> {
        match field.node.value {
            Value::Text(_) => backoff_kind(field, problems).map(BackoffDraft::Kind),
            Value::Map(_) => {
                let section = Section::open(field, BACKOFF_KEYS, problems)?;
                Some(BackoffDraft::Map {
                    kind: section.read("kind", problems, backoff_kind),
                    base_ms: section.read("base_seconds", problems, seconds),
                    cap_ms: section.read("cap_seconds", problems, seconds),
                })
            }
            _ => field.mismatch("exponential, linear, fixed, or a map with kind, base_seconds, cap_seconds", problems),
        }
    }

    fn overlaid(self, over: BackoffDraft) -> BackoffDraft {
        match (self, over) {
            (
                BackoffDraft::Map { kind, base_ms, cap_ms },
                BackoffDraft::Map { kind: kind_over, base_ms: base_over, cap_ms: cap_over },
            ) => BackoffDraft::Map {
                kind: kind_over.or(kind),
                base_ms: base_over.or(base_ms),
                cap_ms: cap_over.or(cap_ms),
            },
            (BackoffDraft::Kind(kind), BackoffDraft::Map { kind: kind_over, base_ms, cap_ms }) => {
                BackoffDraft::Map { kind: kind_over.or(Some(kind)), base_ms, cap_ms }
            }
            (_, over @ BackoffDraft::Kind(_)) => over,
        }
    }

    fn finish(&self, problems: &mut Problems) -> Backoff {
        let default = Backoff::default();
        match self {
            BackoffDraft::Kind(kind) => Backoff { kind: *kind, ..default },
            BackoffDraft::Map { kind, base_ms, cap_ms } => {
                let base = base_ms.as_ref().map_or(default.base_ms, |base| base.value);
                let cap = cap_ms.as_ref().map_or(default.cap_ms, |cap| cap.value);
                if base > cap {
                    let seconds = |ms: u64| ms as f64 / 1000.0;
                    let message = format!(
                        "base_seconds ({}) is above cap_seconds ({}), which no delay passes",
                        seconds(base),
                        seconds(cap)
                    );
                    // At least one of them was said, for the defaults are in order; what was said last is to blame.
                    if let Some(at) = base_ms.iter().chain(cap_ms).max_by_key(|at| at.place) {
                        problems.add(at.place, at.path.clone(), message);
                    }
                }
                Backoff { kind: kind.unwrap_or(default.kind), base_ms: base, cap_ms: cap }
            }
        }
    }
}

fn backoff_kind(field: &Field<'_>, problems: &mut Problems) -> Option<BackoffKind> {
    match field.text(problems)?.as_str() {
        "exponential" => Some(BackoffKind::Exponential),
        "linear" => Some(BackoffKind::Linear),
        "fixed" => Some(BackoffKind::Fixed),
        _ => field.mismatch("exponential, linear or fixed", problems),
    }
}

fn seconds(field: &Field<'_>, problems: &mut Problems) -> Option<At<u64>> {
    let value = field.seconds(problems)?;
    Some(At { value, place: field.node.place, path: field.path.clone() })
}
