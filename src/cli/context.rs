//! `tasker context add|list|use|show|remove`: brokers by name.

mod file;

use std::path::{Path, PathBuf};

use clap::{Arg, Args, Subcommand};
use serde::Serialize;

use super::output::{Table, note, or_dash};
use super::{Exit, Failure, Global};
use crate::security::{PublicKey, SecretKey};
pub(super) use file::{Context, Contexts};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a context from --broker, --events, --server-key, --key-file, --http and --token-file; the first is the current one
    Add(Add),
    /// List the contexts; the current one has a star
    List,
    /// Make a context the current one, which is meant when nothing else is said
    Use {
        /// Its name
        name: String,
    },
    /// Print a context
    Show {
        /// Its name [default: the current one]
        name: Option<String>,
    },
    /// Remove a context
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its name
    #[arg(value_parser = parse_name)]
    name: String,
    /// Change the context if it is there
    #[arg(long)]
    replace: bool,
}

/// One context as it is printed.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    current: bool,
    #[serde(flatten)]
    context: &'a Context,
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let path = file::path().ok_or_else(|| {
            Failure::usage("there is no folder for the contexts: neither XDG_CONFIG_HOME nor HOME is set")
                .with_hint(format!("{} names a file", file::VARIABLE))
        })?;
        let contexts = Contexts::read_from(&path)?;
        match self {
            Command::Add(add) => add.run(global, contexts, &path),
            Command::List => list(global, &contexts),
            Command::Use { name } => {
                contexts.get(&name)?;
                Contexts { current: Some(name.clone()), ..contexts }.write_to(&path)?;
                note(&format!("commands go to `{name}` from now on"));
                Ok(Exit::Done)
            }
            Command::Show { name } => show(global, &contexts, name.as_deref()),
            Command::Remove { name } => remove(contexts, &path, &name),
        }
    }
}

impl Add {
    /// What the context says is what the global options say here, or the variables behind them.
    fn run(self, global: &Global, mut contexts: Contexts, path: &Path) -> Result<Exit, Failure> {
        let Add { name, replace } = self;
        if contexts.contexts.contains_key(&name) && !replace {
            return Err(
                Failure::usage(format!("a context is called `{name}` already")).with_hint("--replace changes it")
            );
        }
        let context = context(global)?;
        contexts.contexts.insert(name.clone(), context);
        let is_current = contexts.current.get_or_insert_with(|| name.clone()) == &name;
        contexts.write_to(path)?;
        note(&match is_current {
            true => format!("`{name}` is the current context"),
            false => format!("`{name}` is added; `tasker context use {name}` makes it the current one"),
        });
        Ok(Exit::Done)
    }
}

fn context(global: &Global) -> Result<Context, Failure> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let broker = given(&global.broker)
        .ok_or_else(|| Failure::usage("--broker says where the broker of the context is, and it is missing"))?;
    let context = Context {
        broker: Some(checked("--broker", broker, check_endpoint)?),
        events: given(&global.events).map(|events| checked("--events", events, check_endpoint)).transpose()?,
        server_key: given(&global.server_key),
        key_file: global.key_file.clone().filter(|file| !file.is_empty()).map(PathBuf::from),
        http: given(&global.http).map(|http| checked("--http", http, check_http)).transpose()?,
        token_file: global.token_file.clone().filter(|file| !file.as_os_str().is_empty()),
    };
    if context.server_key.is_some() != context.key_file.is_some() {
        return Err(Failure::usage("--server-key and --key-file belong together"));
    }
    if let Some(key) = &context.server_key {
        key.parse::<PublicKey>().map_err(|error| Failure::usage(format!("the value of --server-key {error}")))?;
    }
    let key_file = context.key_file.map(|file| in_full("--key-file", &file)).transpose()?;
    let token_file = context.token_file.map(|file| in_full("--token-file", &file)).transpose()?;
    Ok(Context { key_file, token_file, ..context })
}

fn checked(option: &str, value: String, check: fn(&str) -> Result<(), &'static str>) -> Result<String, Failure> {
    check(&value).map_err(|problem| Failure::usage(format!("{option}: {problem}")))?;
    Ok(value)
}

/// The file as it is called from everywhere. A key or token itself is a mistake that would leave a secret in the file.
fn in_full(option: &str, file: &Path) -> Result<PathBuf, Failure> {
    let is_key = file.to_str().is_some_and(|text| text.parse::<SecretKey>().is_ok());
    if is_key && !file.exists() {
        return Err(Failure::usage(format!("{option} takes the name of a file, not what is in it")));
    }
    std::path::absolute(file).map_err(|error| Failure::usage(format!("{option}: {error}")))
}

fn list(global: &Global, contexts: &Contexts) -> Result<Exit, Failure> {
    let entries: Vec<Entry<'_>> =
        contexts.contexts.iter().map(|(name, context)| entry(contexts, name, context)).collect();
    global.output.print_list(&entries, &entries, || {
        let mut table = Table::new(&["", "NAME", "BROKER", "EVENTS", "KEYS", "HTTP"]);
        for Entry { name, current, context } in &entries {
            table.row([
                if *current { "*" } else { "" }.to_owned(),
                (*name).to_owned(),
                or_dash(context.broker.as_ref()),
                or_dash(context.events.as_ref()),
                if context.server_key.is_some() { "yes" } else { "no" }.to_owned(),
                or_dash(context.http.as_ref()),
            ]);
        }
        table.render()
    })?;
    if entries.is_empty() {
        note("there are no contexts; `tasker context add` makes one");
    }
    Ok(Exit::Done)
}

fn show(global: &Global, contexts: &Contexts, name: Option<&str>) -> Result<Exit, Failure> {
    let name = name.or(contexts.current.as_deref()).ok_or_else(|| Failure::usage("there is no current context"))?;
    let context = contexts.get(name)?;
    global.output.print(&entry(contexts, name, context), || {
        let file = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let lines = [
            ("name", Some(name.to_owned())),
            ("broker", context.broker.clone()),
            ("events", context.events.clone()),
            ("server key", context.server_key.clone()),
            ("key file", file(&context.key_file)),
            ("http", context.http.clone()),
            ("token file", file(&context.token_file)),
        ];
        lines.into_iter().filter_map(|(name, value)| Some(format!("{name:<10}  {}\n", value?))).collect()
    })?;
    Ok(Exit::Done)
}

fn entry<'a>(contexts: &Contexts, name: &'a str, context: &'a Context) -> Entry<'a> {
    Entry { name, current: contexts.current.as_deref() == Some(name), context }
}

fn remove(mut contexts: Contexts, path: &Path, name: &str) -> Result<Exit, Failure> {
    contexts.get(name)?;
    contexts.contexts.remove(name);
    let was_current = contexts.current.as_deref() == Some(name);
    if was_current {
        contexts.current = None;
    }
    contexts.write_to(path)?;
    note(&match was_current {
        true => format!("`{name}` is removed; there is no current context now"),
        false => format!("`{name}` is removed"),
    });
    Ok(Exit::Done)
}

/// `task submit` has a `--context` of another kind, the task's; there the broker's is `-C` alone.
pub(super) fn leave_to_submit(definition: clap::Command) -> clap::Command {
    let name = Arg::new("context_name").short('C').value_name("NAME").env("TASKER_CONTEXT");
    let name = name.help("Which broker, by the name that `tasker context add` gave it");
    definition.mut_subcommand("task", |task| task.mut_subcommand("submit", |submit| submit.arg(name)))
}

/// What can be typed, completed and a key of the file without quotes.
fn parse_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a name has letters, digits, - and _".to_owned()),
    }
}

fn check_endpoint(text: &str) -> Result<(), &'static str> {
    match text.starts_with("tcp://") || text.starts_with("ipc://") {
        true => Ok(()),
        false => Err("an endpoint is tcp://HOST:PORT or ipc:///PATH"),
    }
}

fn check_http(text: &str) -> Result<(), &'static str> {
    match text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
        Some(rest) if rest.contains('@') => Err("a context holds no secret; --token-file names a file with it"),
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => Err("an address is http://HOST:PORT"),
    }
}
