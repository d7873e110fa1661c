//! Template texts become what the engine takes: on their way in, and when they are read back.

use std::sync::Arc;

use tasker_engine::{Refusal, RefusalKind, TemplateSource};

use crate::template::{self, Definition, Problem};

/// Problems that a refusal lists; `tasker template validate` shows all.
const LISTED_MAX: usize = 10;

/// Compiles a definition. The refusal has the place of the first problem and lists the first few.
pub(crate) fn compile(source: &str, yaml: &str, environment: Option<&str>) -> Result<TemplateSource, Refusal> {
    let definition = template::parse(source, yaml, environment).map_err(|problems| refusal(&problems))?;
    Ok(source_of(definition, environment))
}

fn source_of(definition: Definition, environment: Option<&str>) -> TemplateSource {
    TemplateSource {
        template: definition.template,
        yaml: definition.yaml,
        digest: definition.digest,
        environment: environment.map(Arc::from),
        description: definition.description.map(Arc::from),
        task_handler_class: definition.task_handler_class.map(Arc::from),
        handler_config: definition.handler_config.map(Arc::from),
    }
}

fn refusal(problems: &[Problem]) -> Refusal {
    let mut lines: Vec<String> = problems.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if problems.len() > LISTED_MAX {
        lines.push(format!("and {} more", problems.len() - LISTED_MAX));
    }
    let refusal = Refusal::new(RefusalKind::InvalidTemplate, lines.join("; "));
    match problems.first() {
        Some(Problem { source, line, column, key, .. }) => {
            let key = if key.is_empty() { String::new() } else { format!(": {key}") };
            refusal.position(format!("{source}:{line}:{column}{key}")).field("yaml")
        }
        None => refusal.field("yaml"),
    }
}
