//! Definitions.
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Identity of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Semantic version.
    pub version: Arc<str>,
}
impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.namespace, self.name, self.version)
    }
}
/// A template.
#[derive(Debug)]
pub struct Template {
    /// Identity.
    pub key: TemplateKey,
    /// Version, parsed.
    pub version: semver::Version,
    /// Steps in order of definition.
    pub steps: Box<[StepTemplate]>,
    /// Dependencies.
    pub dag: Dag,
    /// Schema and defaults.
    pub context_check: Option<Arc<dyn ContextCheck>>,
}
/// A step.
#[derive(Debug)]
pub struct StepTemplate {
    /// Name.
    pub name: Arc<str>,
    /// Class.
    pub handler_class: Arc<str>,
    /// Whether a failure may be tried again.
    pub retryable: bool,
    /// Most attempts.
    pub retry_limit: u32,
    /// Delays.
    pub backoff: Backoff,
    /// Whether a request may bypass it.
    pub skippable: bool,
    /// Timeout.
    pub timeout_ms: u64,
    /// JSON object.
    pub inputs: Bytes,
    /// Events.
    pub custom_events: Box<[Arc<str>]>,
    /// System.
    pub dependent_system: Option<Arc<str>>,
}
/// Check of a context.
pub trait ContextCheck: Send + Sync + fmt::Debug {
    /// Merge and check.
    fn admit(&self, context: &str) -> Result<Option<Bytes>, ContextError>;
    /// Merge options.
    fn options(&self, given: Option<&str>) -> Result<Option<Bytes>, ContextError>;
}
/// Fault in a context.
#[derive(Clone, Debug)]
pub struct ContextError {
    /// JSON pointer.
    pub pointer: String,
    /// What.
    pub message: String,
}
impl Template {
    /// Index of a step.
    pub fn step_number(&self, name: &str) -> Option<u32> {
        self.steps.iter().position(|s| &*s.name == name).map(|i| i as u32)
    }
}
/// Dependencies.
#[derive(Debug)]
pub struct Dag;
impl Dag {
    /// Parents.
    pub fn parents(&self, _step: u32) -> &[u32] {
        &[]
    }
    /// Children.
    pub fn children(&self, _step: u32) -> &[u32] {
        &[]
    }
}
/// Delays.
#[derive(Debug, Clone, Default)]
pub struct Backoff;
impl Backoff {
    /// Delay.
    pub fn delay_ms(&self, _attempt: u32, _jitter: u64) -> u64 {
        0
    }
}
