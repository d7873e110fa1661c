//! `tasker config show|check`

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::output::note;
use super::{ConfigFile, Exit, Failure, Global};
use crate::config::{Config, Entry, explain, process_environment};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the configuration in force, and where each value comes from; passwords are masked
    Show(ConfigFile),
    /// Check the configuration
    Check(ConfigFile),
}

impl Command {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let (Command::Show(config) | Command::Check(config)) = self;
        Config::from_process(config.file.as_deref())?;
        match self {
            Command::Check(_) => {
                global.output.print_for_programs(&json!({ "valid": true }))?;
                note("the configuration is valid");
            }
            Command::Show(_) => {
                let entries = explain(config.file.as_deref(), process_environment())?;
                let line = |entry: &Entry| json!({ "key": entry.key, "value": entry.value, "origin": entry.origin });
                global.output.print_list(&sections(&entries), entries.iter().map(line), || toml(&entries))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// A file that could be read again, except for what is masked.
fn toml(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut last_section = "";
    for entry in entries {
        let (section, name) = entry.key.split_once('.').expect("keys have a section");
        if section != last_section {
            let gap = if last_section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{section}]\n"));
            last_section = section;
        }
        text.push_str(&format!("{:<40} # {}\n", format!("{name} = {}", toml_value(&entry.value)), entry.origin));
    }
    text
}

/// JSON's strings, numbers and booleans are TOML's too; tables are written in one line.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", toml_value(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        value => value.to_string(),
    }
}

fn sections(entries: &[Entry]) -> Map<String, Value> {
    let mut sections = Map::new();
    for entry in entries {
        let (section, name) = entry.key.split_once('.').expect("keys have a section");
        sections.entry(section).or_insert_with(|| json!({}))[name] =
            json!({ "value": entry.value, "origin": entry.origin });
    }
    sections
}
