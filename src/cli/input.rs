//! Arguments that several subcommands read in the same way: JSON, template references, who acts.

use std::io::Read;

use clap::Args;

use super::Failure;
use crate::protocol::JsonText;

/// Who acts and why, for the audit.
#[derive(Debug, Args)]
pub(super) struct Signature {
    /// Who does this, for the audit
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "")]
    pub actor: String,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// The JSON of an option: `-` is standard input, text that begins like an object, list or string is JSON itself,
/// anything else is a file. A file whose name is a JSON number or word is `./5`.
pub(super) fn read_json(argument: &str) -> Result<JsonText, Failure> {
    let (origin, text) = match argument {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::usage(format!("failed to read standard input: {error}")))?;
            ("standard input", text)
        }
        _ if looks_like_json(argument) => ("the argument", argument.to_owned()),
        file => {
            let read = std::fs::read_to_string(file);
            (file, read.map_err(|error| Failure::usage(format!("failed to read {file}: {error}")))?)
        }
    };
    let json = JsonText::new(text);
    json.check().map_err(|error| {
        let (line, column) = (error.line, error.column);
        Failure::usage(format!("{origin}:{line}:{column}: not valid JSON: {}", error.reason))
    })?;
    Ok(json)
}

fn looks_like_json(argument: &str) -> bool {
    argument.trim_start().starts_with(['{', '[', '"']) || serde_json::from_str::<serde_json::Value>(argument).is_ok()
}

/// `namespace/name` or `namespace/name@version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplateReference {
    pub namespace: String,
    pub name: String,
    pub version: Option<String>,
}

impl std::str::FromStr for TemplateReference {
    type Err = String;

    fn from_str(text: &str) -> Result<TemplateReference, String> {
        let (key, version) = match text.split_once('@') {
            Some((key, version)) => (key, Some(version)),
            None => (text, None),
        };
        match key.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') && version != Some("") =>
            {
                let version = version.map(str::to_owned);
                Ok(TemplateReference { namespace: namespace.to_owned(), name: name.to_owned(), version })
            }
            _ => Err("expected NAMESPACE/NAME or NAMESPACE/NAME@VERSION".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_reference_has_two_or_three_parts() {
        let parse = |text: &str| text.parse::<TemplateReference>();
        let reference = parse("shop/order@1.0.0-rc.1").expect("three parts");
        assert_eq!((reference.namespace.as_str(), reference.name.as_str()), ("shop", "order"));
        assert_eq!(reference.version.as_deref(), Some("1.0.0-rc.1"));
        assert_eq!(parse("shop/order").expect("two parts").version, None);
        for text in ["", "order", "/order", "shop/", "shop/order@", "a/b/c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_files_and_words_are_told_apart() {
        for json in ["{}", " [1]", "\"x\"", "5", "null", "340282366920938463463374607431768211456", "{broken"] {
            assert!(looks_like_json(json), "{json}");
        }
        for file in ["context.json", "./5", "nullable", "dir/x"] {
            assert!(!looks_like_json(file), "{file}");
        }
    }
}
