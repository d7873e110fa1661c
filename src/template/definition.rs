//! The outermost keys of a definition and its environments, and how they come together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tasker_engine::{STEPS_MAX, Template, TemplateError, TemplateKey};

use super::context::{self, Rules};
use super::node::{Node, Place, Value};
use super::section::{At, Field, Problems, Section, bad_name, is_name};
use super::step::{self, Draft, Inherited};
use super::yaml;
use super::{DEFINITION_BYTES_MAX, Definition};

/// Largest JSON object that a definition may add to each task (`default_context`, `default_options`) or to each step
/// (`handler_config`). It is stored and sent with every one of them. A schema may be as large.
pub const OBJECT_BYTES_MAX: usize = 256 * 1024;

/// Most environments of a definition: each is checked as if it were the one in use.
const ENVIRONMENTS_MAX: usize = 32;

const KEYS: &[&str] = &[
    "name",
    "namespace_name",
    "version",
    "task_handler_class",
    "module_namespace",
    "description",
    "default_dependent_system",
    "named_steps",
    "schema",
    "default_context",
    "default_options",
    "handler_config",
    "custom_events",
    "step_templates",
    "environments",
];

const ENVIRONMENT_KEYS: &[&str] = &["step_templates", "step_overrides", "default_context", "default_options"];

/// What an environment changes.
struct Environment {
    name: String,
    overrides: Vec<Draft>,
    default_context: Option<At<Node>>,
    default_options: Option<At<Node>>,
}

/// Reads a definition. What it returns counts only when no problem was added.
pub fn read(text: &str, environment: Option<&str>, problems: &mut Problems) -> Option<Definition> {
    if text.len() > DEFINITION_BYTES_MAX {
        let message = format!("{} bytes are more than the {DEFINITION_BYTES_MAX} allowed", text.len());
        problems.add(Place { line: 1, column: 1 }, "", message);
        return None;
    }
    let root = yaml::read(text, problems)?;
    let section = Section::open(&Field { node: &root, path: String::new() }, KEYS, problems)?;

    let key = read_key(&section, problems);
    let description = section.read("description", problems, Field::text);
    let task_handler_class = section.read("task_handler_class", problems, Field::class);
    let module_namespace = section.read("module_namespace", problems, Field::text);
    let handler_config = section.read("handler_config", problems, object);
    let events = section.read("custom_events", problems, step::events).unwrap_or_default();
    let inherited = Inherited {
        dependent_system: section.read("default_dependent_system", problems, Field::text),
        custom_events: events.into_iter().map(|event| event.value).collect(),
    };
    let schema = section.read("schema", problems, context::compile_schema);
    let mut default_context = section.read("default_context", problems, object);
    let mut default_options = section.read("default_options", problems, object);
    let mut drafts = read_steps(&section, problems)?;
    check_named_steps(&section, &drafts, problems);
    let environments =
        section.read("environments", problems, |field, problems| read_environments(field, &drafts, problems));

    // The definition by itself must hold, and must hold again with each environment.
    let mut template = assemble(&key, &drafts, &inherited, problems);
    for over in environments.unwrap_or_default() {
        let mut changed = None;
        if !over.overrides.is_empty() {
            let mut found = Problems::default();
            let drafts = overlaid(&drafts, &over.overrides);
            changed = Some((assemble(&key, &drafts, &inherited, &mut found), drafts));
            problems.add_new(found, &format!("with environment `{}`: ", over.name));
        }
        if environment == Some(over.name.as_str()) {
            (template, drafts) = changed.unwrap_or((template, drafts));
            default_context = overlaid_object(default_context, over.default_context);
            default_options = overlaid_object(default_options, over.default_options);
        }
    }

    let mut template = template?;
    if let Some(rules) = Rules::new(schema, default_context.map(|at| at.value), default_options.map(|at| at.value)) {
        template = template.with_context_check(Arc::new(rules));
    }
    Some(Definition {
        template: Arc::new(template),
        yaml: text.into(),
        digest: Sha256::digest(text).into(),
        description,
        task_handler_class,
        module_namespace,
        default_dependent_system: inherited.dependent_system,
        handler_config: handler_config.map(|config| config.value.to_json()),
        custom_events: inherited.custom_events,
        step_descriptions: drafts.into_iter().map(|draft| draft.description).collect(),
    })
}

fn object(field: &Field<'_>, problems: &mut Problems) -> Option<At<Node>> {
    field.object(OBJECT_BYTES_MAX, problems)
}

/// The key; when a part of it is wrong, a stand-in, so that the steps are checked all the same.
fn read_key(section: &Section<'_>, problems: &mut Problems) -> TemplateKey {
    let mut name = |key| section.require(key, problems).and_then(|field| field.name(problems));
    let (namespace, name) = (name("namespace_name"), name("name"));
    let version = section.require("version", problems).and_then(|field| {
        let version = field.text(problems)?;
        match semver::Version::parse(&version) {
            Ok(_) if version.len() <= 128 => Some(version),
            Ok(_) => field.mismatch("a version of at most 128 bytes", problems),
            Err(error) => {
                field.refuse(problems, format!("not a semantic version such as `1.0.0`: {error}"));
                None
            }
        }
    });
    TemplateKey {
        namespace: namespace.map_or_else(String::new, |at| at.value).into(),
        name: name.map_or_else(String::new, |at| at.value).into(),
        version: version.as_deref().unwrap_or("0.0.0").into(),
    }
}

fn read_steps(section: &Section<'_>, problems: &mut Problems) -> Option<Vec<Draft>> {
    let field = section.require("step_templates", problems)?;
    let items = field.list(problems)?;
    if items.is_empty() {
        field.refuse(problems, "a template needs at least one step");
        return None;
    }
    if items.len() > STEPS_MAX {
        return field.mismatch(&format!("at most {STEPS_MAX} steps"), problems);
    }
    let drafts: Vec<Draft> = items.iter().filter_map(|item| Draft::read(item, true, problems)).collect();
    (!drafts.is_empty()).then(|| without_duplicates(drafts, problems))
}

fn without_duplicates(drafts: Vec<Draft>, problems: &mut Problems) -> Vec<Draft> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut kept = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let At { value, place, path } = &draft.name;
        if let Some(line) = first.get(value) {
            problems.add(*place, path.clone(), format!("step `{value}` was given before, on line {line}"));
        } else {
            first.insert(value.clone(), place.line);
            kept.push(draft);
        }
    }
    kept
}

fn check_named_steps(section: &Section<'_>, drafts: &[Draft], problems: &mut Problems) {
    let Some(field) = section.get("named_steps") else { return };
    let Some(named) = field.names(problems) else { return };
    let steps: HashSet<&str> = drafts.iter().map(|draft| draft.name.value.as_str()).collect();
    let mut seen = HashSet::new();
    for At { value, place, path } in &named {
        if !steps.contains(value.as_str()) {
            problems.add(*place, path.clone(), format!("`{value}` is not in step_templates"));
        }
        if !seen.insert(value.as_str()) {
            problems.add(*place, path.clone(), format!("`{value}` is named twice"));
        }
    }
    for draft in drafts.iter().filter(|draft| !seen.contains(draft.name.value.as_str())) {
        field.refuse(problems, format!("step `{}` is missing here", draft.name.value));
    }
}

fn read_environments(field: &Field<'_>, drafts: &[Draft], problems: &mut Problems) -> Option<Vec<Environment>> {
    let entries = field.named_fields(problems)?;
    if entries.len() > ENVIRONMENTS_MAX {
        return field.mismatch(&format!("at most {ENVIRONMENTS_MAX} environments"), problems);
    }
    let steps: HashSet<&str> = drafts.iter().map(|draft| draft.name.value.as_str()).collect();
    let mut environments = Vec::new();
    for (key, field) in entries {
        if !is_name(&key.text) {
            problems.add(key.place, field.path, bad_name(&key.text));
            continue;
        }
        if matches!(field.node.value, Value::Null) {
            continue;
        }
        let Some(section) = Section::open(&field, ENVIRONMENT_KEYS, problems) else { continue };
        let mut overrides = section.read("step_templates", problems, |field, problems| {
            let items = field.list(problems)?;
            let read = items.iter().filter_map(|item| Draft::read(item, false, problems)).collect();
            Some(without_duplicates(read, problems))
        });
        let named = section.read("step_overrides", problems, read_step_overrides);
        overrides.get_or_insert_default().extend(named.unwrap_or_default());
        let mut overrides = overrides.unwrap_or_default();
        overrides.retain(|draft| {
            let At { value, place, path } = &draft.name;
            let known = steps.contains(value.as_str());
            if !known {
                problems.add(*place, path.clone(), format!("`{value}` is not a step of this template"));
            }
            known
        });
        environments.push(Environment {
            name: key.text.clone(),
            overrides,
            default_context: section.read("default_context", problems, object),
            default_options: section.read("default_options", problems, object),
        });
    }
    Some(environments)
}

fn read_step_overrides(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<Draft>> {
    let mut drafts = Vec::new();
    for (key, field) in field.named_fields(problems)? {
        let name = At { value: key.text.clone(), place: key.place, path: field.path.clone() };
        match field.node.value {
            Value::Null => {}
            _ => drafts.extend(Draft::read_override(name, &field, problems)),
        }
    }
    Some(drafts)
}

fn overlaid(drafts: &[Draft], overrides: &[Draft]) -> Vec<Draft> {
    let mut drafts = drafts.to_vec();
    let names = drafts.iter().enumerate().map(|(number, draft)| (draft.name.value.clone(), number));
    let numbers: HashMap<String, usize> = names.collect();
    for over in overrides {
        if let Some(&number) = numbers.get(&over.name.value) {
            drafts[number].overlay(over);
        }
    }
    drafts
}

fn overlaid_object(below: Option<At<Node>>, above: Option<At<Node>>) -> Option<At<Node>> {
    match (below, above) {
        (Some(below), Some(above)) => Some(At { value: below.value.overlaid(&above.value), ..above }),
        (below, above) => above.or(below),
    }
}

/// Links the steps and makes the engine's template.
fn assemble(key: &TemplateKey, drafts: &[Draft], inherited: &Inherited, problems: &mut Problems) -> Option<Template> {
    let names: HashSet<&str> = drafts.iter().map(|draft| draft.name.value.as_str()).collect();
    let mut linked = true;
    let mut steps = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let own = draft.name.value.as_str();
        let mut parents: Vec<Arc<str>> = Vec::new();
        for At { value, place, path } in draft.parents() {
            if value == own {
                problems.add(*place, path.clone(), format!("step `{own}` depends on itself"));
                linked = false;
            } else if !names.contains(value.as_str()) {
                problems.add(*place, path.clone(), format!("`{value}` is not a step of this template"));
                linked = false;
            } else {
                parents.push(value.as_str().into());
            }
        }
        steps.push((draft.finish(inherited, problems), parents));
    }
    if !linked {
        return None;
    }
    match Template::new(key.clone(), steps) {
        Ok(template) => Some(template),
        Err(error) => {
            let at = blamed(&error, drafts);
            problems.add(at.place, at.path.clone(), error.to_string());
            None
        }
    }
}

/// What to change so that the error goes away: for steps that wait for each other, the first one's dependency.
fn blamed<'d>(error: &TemplateError, drafts: &'d [Draft]) -> &'d At<String> {
    let first = &drafts[0].name; // `read_steps` returns no empty list.
    let TemplateError::Cycle(cycle) = error else { return first };
    let (Some(step), Some(parent)) = (cycle.first(), cycle.get(1)) else { return first };
    let draft = drafts.iter().find(|draft| *draft.name.value == **step);
    let dependency = draft.and_then(|draft| draft.parents().find(|at| *at.value == **parent));
    dependency.unwrap_or(first)
}
