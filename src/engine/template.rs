//! A task template as the engine runs it: steps, their dependencies, and what a context must satisfy.
//! Where it was read from, and in which language, is not known here.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use semver::Version;

use crate::dag::{Cycle, Dag};
use crate::retry::Backoff;

/// Most steps of a template: twice the largest workflow that is promised to run well. A task is loaded and saved as a
/// whole, so that its size bounds the largest commit.
pub const STEPS_MAX: usize = 20_000;

/// Most dependencies of a template, all steps together. A thousand steps that each wait for a thousand others fit;
/// beyond that a step in between says the same with a thousandth of the edges.
pub const DEPENDENCIES_MAX: usize = 1_000_000;

/// Names a template for ever: the definition behind a key never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey {
    /// Groups templates.
    pub namespace: Arc<str>,
    /// Unique within the namespace.
    pub name: Arc<str>,
    /// Semantic version.
    pub version: Arc<str>,
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}@{}", self.namespace, self.name, self.version)
    }
}

impl Ord for TemplateKey {
    /// By namespace, name and semantic version (so `1.10.0` follows `1.9.0`); text that is no version comes first.
    fn cmp(&self, other: &TemplateKey) -> Ordering {
        let names = (&self.namespace, &self.name).cmp(&(&other.namespace, &other.name));
        names
            .then_with(|| Version::parse(&self.version).ok().cmp(&Version::parse(&other.version).ok()))
            .then_with(|| self.version.cmp(&other.version))
    }
}

impl PartialOrd for TemplateKey {
    fn partial_cmp(&self, other: &TemplateKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Most bytes that a name takes in a message besides its letters, with some room.
const NAME_BYTES: u64 = 8;
/// The same for a parent, which is named in its child and beside its result.
const PARENT_BYTES: u64 = 40;

/// One version of a workflow.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name.
    pub key: TemplateKey,
    /// The key's version, parsed.
    pub version: Version,
    /// The steps in order of definition; a step's number is its index here.
    pub steps: Box<[StepTemplate]>,
    /// Which step waits for which.
    pub dag: Dag,
    /// What to do with a task's context and options; `None` takes any and leaves them as they are.
    pub context_check: Option<Arc<dyn ContextCheck>>,
    numbers: HashMap<Arc<str>, u32>,
    /// For each step, see `message_bytes`.
    message_bytes: Box<[u64]>,
}

/// One node of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTemplate {
    /// Unique within the template.
    pub name: Arc<str>,
    /// What the worker runs.
    pub handler_class: Arc<str>,
    /// Whether a failure may be tried again.
    pub retryable: bool,
    /// Most attempts; 1 when the step is not retryable.
    pub retry_limit: u32,
    /// Waiting time between attempts.
    pub backoff: Backoff,
    /// Whether a task request may bypass the step.
    pub skippable: bool,
    /// From dispatch until an attempt is given up.
    pub timeout_ms: u64,
    /// `handler_config`: the text of a JSON object.
    pub inputs: Bytes,
    /// Events that the step may publish.
    pub custom_events: Box<[Arc<str>]>,
    /// The system that the step talks to, for people.
    pub dependent_system: Option<Arc<str>>,
}

/// The rules of a template for what a task request carries.
pub trait ContextCheck: Send + Sync + fmt::Debug {
    /// Checks the JSON object `context`; `Some` is the context to use instead, with the template's defaults merged in.
    fn admit(&self, context: &str) -> Result<Option<Bytes>, ContextError>;

    /// Merges the JSON object `given` over the template's default options; `Some` is what to use instead.
    fn options(&self, given: Option<&str>) -> Result<Option<Bytes>, ContextError>;
}

/// Why a context or options were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct ContextError {
    /// JSON pointer to the value at fault; empty for the document as a whole.
    pub pointer: String,
    /// What is wrong. Does not repeat the value, which may be a secret.
    pub message: String,
}

/// Why steps do not make a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The key's version is not a semantic version.
    #[error("version `{version}` is not a semantic version: {reason}")]
    BadVersion {
        /// The text.
        version: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no steps.
    #[error("a template needs at least one step")]
    NoSteps,
    /// More steps than [`STEPS_MAX`].
    #[error("{count} steps are more than the {STEPS_MAX} that a template may have")]
    TooManySteps {
        /// How many there are.
        count: usize,
    },
    /// More dependencies than [`DEPENDENCIES_MAX`].
    #[error("{count} dependencies are more than the {DEPENDENCIES_MAX} that a template may have")]
    TooManyDependencies {
        /// How many there are.
        count: usize,
    },
    /// Two steps of one name.
    #[error("step `{0}` is defined twice")]
    DuplicateStep(Arc<str>),
    /// A parent that is not a step of the template.
    #[error("step `{step}` depends on `{parent}`, which is not a step of this template")]
    UnknownParent {
        /// The step.
        step: Arc<str>,
        /// What it names as its parent.
        parent: Arc<str>,
    },
    /// Steps that wait for each other: each depends on the next, the last on the first.
    #[error("steps depend on each other: {}", circle(.0))]
    Cycle(Vec<Arc<str>>),
}

/// `a -> b -> a`; the middle of a long ring is left out.
fn circle(names: &[Arc<str>]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut shown: Vec<&str> = names.iter().map(|name| &**name).take(SHOWN_MAX).collect();
    if names.len() > SHOWN_MAX {
        shown.push("...");
    }
    shown.extend(names.first().map(|name| &**name));
    shown.join(" -> ")
}

impl Template {
    /// Makes a template of steps, each with the names of its parents, in order of definition.
    pub fn new(key: TemplateKey, steps: Vec<(StepTemplate, Vec<Arc<str>>)>) -> Result<Template, TemplateError> {
        let version = Version::parse(&key.version)
            .map_err(|error| TemplateError::BadVersion { version: key.version.clone(), reason: error.to_string() })?;
        let dependencies = steps.iter().map(|(_, parents)| parents.len()).sum();
        match steps.len() {
            0 => return Err(TemplateError::NoSteps),
            1..=STEPS_MAX => {}
            count => return Err(TemplateError::TooManySteps { count }),
        }
        if dependencies > DEPENDENCIES_MAX {
            return Err(TemplateError::TooManyDependencies { count: dependencies });
        }
        let mut numbers = HashMap::with_capacity(steps.len());
        for (number, (step, _)) in (0..).zip(&steps) {
            if numbers.insert(step.name.clone(), number).is_some() {
                return Err(TemplateError::DuplicateStep(step.name.clone()));
            }
        }
        let parents = steps.iter().map(|(step, parents)| parent_numbers(step, parents, &numbers));
        let dag = Dag::new(parents.collect::<Result<_, _>>()?).map_err(|Cycle(cycle)| {
            TemplateError::Cycle(cycle.into_iter().map(|number| steps[number as usize].0.name.clone()).collect())
        })?;
        let steps: Box<[StepTemplate]> = steps.into_iter().map(|(step, _)| step).collect();
        let message_bytes = (0..dag.len()).map(|number| message_bytes(&steps, &dag, number)).collect();
        Ok(Template { key, version, steps, dag, context_check: None, numbers, message_bytes })
    }

    /// The same template with rules for contexts and options.
    pub fn with_context_check(self, check: Arc<dyn ContextCheck>) -> Template {
        Template { context_check: Some(check), ..self }
    }

    /// What a message to a worker says of a step whatever its task is, in bytes: names and inputs.
    pub(crate) fn message_bytes(&self, step: u32) -> u64 {
        self.message_bytes[step as usize]
    }

    /// The number of the step with this name.
    pub fn step_number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }
}

fn message_bytes(steps: &[StepTemplate], dag: &Dag, number: u32) -> u64 {
    let step = &steps[number as usize];
    let named_twice = |&parent: &u32| steps[parent as usize].name.len() as u64 * 2 + PARENT_BYTES;
    let parents: u64 = dag.parents(number).iter().map(named_twice).sum();
    let events: u64 = step.custom_events.iter().map(|name| name.len() as u64 + NAME_BYTES).sum();
    (step.name.len() + step.handler_class.len() + step.inputs.len()) as u64 + events + parents
}

fn parent_numbers(
    step: &StepTemplate,
    parents: &[Arc<str>],
    numbers: &HashMap<Arc<str>, u32>,
) -> Result<Vec<u32>, TemplateError> {
    let number = |parent: &Arc<str>| {
        let unknown = || TemplateError::UnknownParent { step: step.name.clone(), parent: parent.clone() };
        numbers.get(parent).copied().ok_or_else(unknown)
    };
    parents.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{DEPENDENCIES_MAX, STEPS_MAX, StepTemplate, Template, TemplateError, TemplateKey};
    use crate::retry::Backoff;

    fn key(version: &str) -> TemplateKey {
        TemplateKey { namespace: "shop".into(), name: "order".into(), version: version.into() }
    }

    fn step(name: &str, parents: &[&str]) -> (StepTemplate, Vec<Arc<str>>) {
        let step = StepTemplate {
            name: name.into(),
            handler_class: "Handler".into(),
            retryable: true,
            retry_limit: 3,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: 1_000,
            inputs: Bytes::from_static(b"{}"),
            custom_events: Box::default(),
            dependent_system: None,
        };
        (step, parents.iter().map(|&parent| parent.into()).collect())
    }

    fn refused(version: &str, steps: Vec<(StepTemplate, Vec<Arc<str>>)>) -> TemplateError {
        Template::new(key(version), steps).expect_err("refused")
    }

    #[test]
    fn steps_are_numbered_in_order_of_definition() {
        let steps = vec![step("end", &["left", "right", "left"]), step("left", &[]), step("right", &["left"])];
        let template = Template::new(key("1.0.0"), steps).expect("a template");
        assert_eq!(template.step_number("right"), Some(2));
        assert_eq!(template.step_number("middle"), None);
        assert_eq!(template.dag.parents(0), [1, 2]);
        assert_eq!(template.dag.roots(), [1]);
        assert_eq!(template.key.to_string(), "shop/order@1.0.0");
    }

    #[test]
    fn broken_templates_are_refused_by_name() {
        assert!(matches!(refused("1.0", vec![step("a", &[])]), TemplateError::BadVersion { .. }));
        assert_eq!(refused("1.0.0", vec![]), TemplateError::NoSteps);
        assert_eq!(refused("1.0.0", vec![step("a", &[]), step("a", &[])]), TemplateError::DuplicateStep("a".into()));
        let unknown = TemplateError::UnknownParent { step: "a".into(), parent: "b".into() };
        assert_eq!(refused("1.0.0", vec![step("a", &["b"])]), unknown);
        let ring = refused("1.0.0", vec![step("a", &["c"]), step("b", &["a"]), step("c", &["b"]), step("d", &["a"])]);
        assert_eq!(ring.to_string(), "steps depend on each other: a -> c -> b -> a");
        assert_eq!(refused("1.0.0", vec![step("a", &["a"])]).to_string(), "steps depend on each other: a -> a");
    }

    #[test]
    fn limits_hold() {
        let many: Vec<_> = (0..=STEPS_MAX).map(|number| step(&number.to_string(), &[])).collect();
        assert_eq!(refused("1.0.0", many), TemplateError::TooManySteps { count: STEPS_MAX + 1 });
        let parents = vec!["a"; DEPENDENCIES_MAX + 1];
        let count = parents.len();
        assert_eq!(
            refused("1.0.0", vec![step("a", &[]), step("b", &parents)]),
            TemplateError::TooManyDependencies { count }
        );
    }

    #[test]
    fn keys_sort_by_semantic_version() {
        let mut keys = ["1.10.0", "1.9.0", "2.0.0", "1.10.0-rc.1", "1.9.0+b"].map(key);
        keys.sort();
        assert_eq!(keys, ["1.9.0", "1.9.0+b", "1.10.0-rc.1", "1.10.0", "2.0.0"].map(key));
    }
}
