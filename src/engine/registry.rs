//! The templates that are registered, by key, and the highest version of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Capability, TemplateSource};
use crate::refusal::{Refusal, RefusalKind};
use crate::template::TemplateKey;

/// Registered templates. An index, once given, stays valid.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    templates: Vec<TemplateSource>,
    /// Indices by namespace and name, in order of version.
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
}

impl Registry {
    pub fn get(&self, index: u32) -> &TemplateSource {
        &self.templates[index as usize]
    }

    pub fn len(&self) -> usize {
        self.templates.len()
    }

    pub fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        0..crate::task::count(self.templates.len())
    }

    /// Every template, by namespace, name and version.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &TemplateSource)> {
        self.by_name.values().flat_map(BTreeMap::values).flatten().map(|&index| (index, self.get(index)))
    }

    /// The index of exactly this template.
    pub fn index(&self, key: &TemplateKey) -> Option<u32> {
        self.versions(&key.namespace, &key.name)
            .iter()
            .copied()
            .find(|&index| self.get(index).template.key.version == key.version)
    }

    /// Whether a template could be taken.
    pub fn check(&self, source: &TemplateSource) -> Result<(), Refusal> {
        let key = &source.template.key;
        if self.index(key).is_some_and(|index| self.get(index).digest != source.digest) {
            let message = format!("template {key} is registered with another content; give the new one a new version");
            return Err(Refusal::new(RefusalKind::TemplateConflict, message).field("version"));
        }
        Ok(())
    }

    /// Takes a template. `Ok(None)` when the very same definition is there already.
    pub fn register(&mut self, source: TemplateSource) -> Result<Option<u32>, Refusal> {
        self.check(&source)?;
        let key = &source.template.key;
        if self.index(key).is_some() {
            return Ok(None);
        }
        let index = crate::task::count(self.templates.len());
        let names = self.by_name.entry(key.namespace.clone()).or_default();
        let versions = names.entry(key.name.clone()).or_default();
        self.templates.push(source);
        versions.push(index);
        let templates = &self.templates;
        versions.sort_by(|&left, &right| {
            let version = |index: u32| &templates[index as usize].template.version;
            version(left).cmp(version(right))
        });
        Ok(Some(index))
    }

    /// The template for a request: this version, or the highest.
    pub fn resolve(&self, namespace: &str, name: &str, version: Option<&str>) -> Result<u32, Refusal> {
        let versions = self.versions(namespace, name);
        let Some(&highest) = versions.last() else {
            return Err(Refusal::new(
                RefusalKind::UnknownTemplate,
                format!("no template {namespace}/{name} is registered"),
            )
            .field("name"));
        };
        let Some(version) = version else { return Ok(highest) };
        versions.iter().copied().find(|&index| &*self.get(index).template.key.version == version).ok_or_else(|| {
            let known: Vec<&str> = versions.iter().map(|&index| &*self.get(index).template.key.version).collect();
            Refusal::new(
                RefusalKind::UnknownVersion,
                format!("template {namespace}/{name} has no version {version}; registered: {}", known.join(", ")),
            )
            .field("version")
        })
    }

    /// The templates of a namespace, each version for itself.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.by_name.get(namespace).into_iter().flat_map(BTreeMap::values).flatten().copied()
    }

    /// Whether a capability covers a template.
    pub fn covers(&self, capability: &Capability, index: u32) -> bool {
        let key = &self.get(index).template.key;
        match capability {
            Capability::Exact(exact) => exact == key,
            Capability::AnyVersion(namespace, name) => *namespace == key.namespace && *name == key.name,
            Capability::Namespace(namespace) => *namespace == key.namespace,
        }
    }

    /// For each template, whether any of these capabilities covers it.
    pub fn coverage(&self, capabilities: &[Capability]) -> Vec<bool> {
        let covered = |index| capabilities.iter().any(|capability| self.covers(capability, index));
        self.indices().map(covered).collect()
    }

    fn versions(&self, namespace: &str, name: &str) -> &[u32] {
        self.by_name.get(namespace).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }
}
