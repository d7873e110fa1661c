//! Template texts that arrive in messages, and the short forms by which workers say what they can run.

use std::fmt::Display;
use std::sync::Arc;

use tasker_engine::{Capability, Refusal, TemplateKey, TemplateSource};

use super::fields::{self, Checked, invalid};
use crate::protocol;

/// Compiles a template: its source's name, its text, and the environment whose overrides apply. A refusal lists every
/// problem and has the place of the first.
pub type TemplateParser = fn(&str, &str, Option<&str>) -> Result<TemplateSource, Refusal>;

/// How template texts are read.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    pub(super) parse: TemplateParser,
    pub(super) environment: Option<String>,
    pub(super) template_bytes_max: usize,
}

impl Compiler {
    /// Compiles a template's text.
    pub(super) fn compile(&self, field: impl Display, source: Option<&str>, yaml: &str) -> Checked<TemplateSource> {
        fields::text(field, yaml, self.template_bytes_max)?;
        (self.parse)(source.unwrap_or("template"), yaml, self.environment.as_deref())
    }
}

/// What a worker can run, and the templates that it brings along.
pub(super) fn capabilities(
    given: Vec<protocol::Capability>,
    compiler: &Compiler,
) -> Checked<(Vec<Capability>, Vec<TemplateSource>)> {
    let mut capabilities = Vec::with_capacity(given.len());
    let mut templates = Vec::new();
    for (index, protocol::Capability { template, yaml, source }) in given.into_iter().enumerate() {
        let capability = capability(format_args!("templates[{index}].template"), &template)?;
        if let Some(yaml) = yaml {
            let field = format_args!("templates[{index}].yaml");
            let compiled = compiler.compile(field, source.as_deref(), &yaml)?;
            if !serves(&capability, &compiled.template.key) {
                let key = &compiled.template.key;
                return Err(invalid(field, format_args!("defines {key}, which is not what `{template}` names")));
            }
            templates.push(compiled);
        }
        capabilities.push(capability);
    }
    Ok((capabilities, templates))
}

/// Reads `namespace/name@version`, `namespace/name` or `namespace/*`.
fn capability(field: impl Display, text: &str) -> Checked<Capability> {
    let (namespace, name, version) = reference(&field, text)?;
    Ok(match (name.as_str(), version) {
        ("*", None) => Capability::Namespace(Arc::from(namespace)),
        ("*", Some(_)) => return Err(invalid(field, "has a version for all templates of a namespace")),
        (_, None) => Capability::AnyVersion(Arc::from(namespace), Arc::from(name)),
        (_, Some(version)) => Capability::Exact(TemplateKey {
            namespace: Arc::from(namespace),
            name: Arc::from(name),
            version: Arc::from(version),
        }),
    })
}

/// Reads `namespace/name` or `namespace/name@version`.
pub(super) fn reference(field: impl Display, text: &str) -> Checked<(String, String, Option<String>)> {
    let malformed = || invalid(&field, "is not of the form `namespace/name` or `namespace/name@version`");
    let (namespace, rest) = text.split_once('/').ok_or_else(malformed)?;
    let (name, version) = match rest.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    };
    if name.contains('/') {
        return Err(malformed());
    }
    fields::name(&field, namespace)?;
    fields::name(&field, name)?;
    fields::optional_name(&field, version)?;
    Ok((namespace.to_owned(), name.to_owned(), version.map(str::to_owned)))
}

fn serves(capability: &Capability, key: &TemplateKey) -> bool {
    match capability {
        Capability::Exact(exact) => exact == key,
        Capability::AnyVersion(namespace, name) => *namespace == key.namespace && *name == key.name,
        Capability::Namespace(namespace) => *namespace == key.namespace,
    }
}

/// A capability as a worker writes it.
pub(super) fn capability_text(capability: &Capability) -> String {
    match capability {
        Capability::Exact(key) => key.to_string(),
        Capability::AnyVersion(namespace, name) => format!("{namespace}/{name}"),
        Capability::Namespace(namespace) => format!("{namespace}/*"),
    }
}
