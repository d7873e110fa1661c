//! `tasker template validate|register|list|show`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::output::{Table, note, one_line, or_dash, print};
use super::{Exit, Failure, Format, Global};
use crate::client::Client;
use crate::protocol::{
    JsonText, ListTemplates, RegisterTemplate, ShowTemplate, TemplateDefinition, TemplateRegistered,
};
use crate::template::{self, Problem};

/// Longest description in a table, in characters.
const DESCRIPTION_CHARS_MAX: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check templates without a broker; every problem is printed as FILE:LINE:COLUMN: KEY: MESSAGE
    Validate {
        #[command(flatten)]
        files: Files,
        /// The environment whose overrides are applied, as in `broker.environment`
        #[arg(short, long, value_name = "NAME")]
        environment: Option<String>,
    },
    /// Store templates with the broker, in the order given; the same content again changes nothing
    Register(Files),
    /// List the registered templates
    List {
        /// Only this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Print the definition of a template
    Show {
        /// NAMESPACE/NAME for its highest version, or NAMESPACE/NAME@VERSION
        template: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Template files (YAML)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Command::Validate { files, environment } => validate(global, &files.files, environment.as_deref()),
            Command::Register(files) => register_files(global, &files.files),
            Command::List { namespace } => list(global, namespace),
            Command::Show { template } => show(global, template),
        }
    }
}

/// What is wrong with one file.
#[derive(Serialize)]
struct Validated {
    file: String,
    /// `namespace/name@version`, when the file is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    problems: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    line: usize,
    column: usize,
    key: String,
    message: String,
}

fn validate(global: &Global, files: &[PathBuf], environment: Option<&str>) -> Result<Exit, Failure> {
    let mut validated = Vec::new();
    let mut faults = 0;
    for (yaml, file) in read(files)? {
        let (template, problems) = match template::parse(&file, &yaml, environment) {
            Ok(definition) => (Some(definition.template.key.to_string()), Vec::new()),
            Err(problems) => (None, problems),
        };
        faults += problems.len();
        if global.output == Format::Text {
            let lines = problems.iter().map(|problem| format!("{problem}\n")).collect::<String>();
            print(&lines)?;
            if let Some(template) = &template {
                note(&format!("{file}: {template} is valid"));
            }
        }
        let problems =
            problems.into_iter().map(|Problem { line, column, key, message, .. }| Fault { line, column, key, message });
        validated.push(Validated { file, template, problems: problems.collect() });
    }
    global.output.print_list(&validated, &validated, String::new)?;
    if faults == 0 {
        return Ok(Exit::Done);
    }
    note(&format!("problems: {faults}"));
    Ok(Exit::Unsuccessful)
}

fn register_files(global: &Global, files: &[PathBuf]) -> Result<Exit, Failure> {
    let templates = read(files)?;
    let mut client = global.connect()?;
    let mut replies = Vec::new();
    for reply in register(&mut client, templates) {
        let reply = reply?;
        if global.output == Format::Text {
            // Line by line: when a later file is refused, these are stored all the same.
            print(&format!("{}\n", reply.template))?;
            note(if reply.created { "  registered" } else { "  was registered before with the same content" });
        }
        replies.push(reply);
    }
    global.output.print_list(&replies, &replies, String::new)?;
    Ok(Exit::Done)
}

/// Registers templates, given as text and file name, one after the other.
pub(super) fn register(
    client: &mut Client,
    templates: Vec<(String, String)>,
) -> impl Iterator<Item = Result<TemplateRegistered, Failure>> {
    templates.into_iter().map(|(yaml, file)| {
        let command = RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: Some(file) };
        Ok(client.request(command)?)
    })
}

/// The text of each file with its name, so that an unreadable file stops the command before anything is sent.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let read = |file: &PathBuf| match std::fs::read_to_string(file) {
        Ok(text) => Ok((text, file.display().to_string())),
        Err(error) => Err(Failure::usage(format!("failed to read {}: {error}", file.display()))),
    };
    files.iter().map(read).collect()
}

fn list(global: &Global, namespace: Option<String>) -> Result<Exit, Failure> {
    let list = global.connect()?.request(ListTemplates { correlation_id: Uuid::nil(), namespace })?;
    if global.output.is_for_programs() {
        global.output.print_list(&list, &list.templates, String::new)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["TEMPLATE", "STEPS", "WORKERS", "DESCRIPTION"]);
    for template in &list.templates {
        table.row([
            format!("{}/{}@{}", template.namespace, template.name, template.version),
            template.steps.to_string(),
            template.workers.to_string(),
            or_dash(template.description.as_ref().map(|text| one_line(text, DESCRIPTION_CHARS_MAX))),
        ]);
    }
    print(&table.render())?;
    if list.templates.is_empty() {
        note("no template is registered");
    }
    Ok(Exit::Done)
}

/// A definition whose handler configuration is a JSON value, digit for digit.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    definition: TemplateDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler_config: Option<Box<RawValue>>,
}

fn show(global: &Global, template: String) -> Result<Exit, Failure> {
    let definition = global.connect()?.request(ShowTemplate { correlation_id: Uuid::nil(), template })?;
    let handler_config = definition.handler_config.as_ref().map(JsonText::to_raw);
    let shown = Shown { definition: TemplateDefinition { handler_config: None, ..definition }, handler_config };
    global.output.print(&shown, || {
        let TemplateDefinition { template: summary, yaml, .. } = &shown.definition;
        let (namespace, name, version) = (&summary.namespace, &summary.name, &summary.version);
        note(&format!("{namespace}/{name}@{version}, sha256 {}", summary.digest));
        let newline = if yaml.ends_with('\n') { "" } else { "\n" };
        format!("{yaml}{newline}")
    })?;
    Ok(Exit::Done)
}
