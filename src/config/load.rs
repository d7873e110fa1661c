//! From the sources to a [`Config`]: the embedded defaults, a file, the environment. The defaults double as the list
//! of keys and of their types; every value remembers where it came from, so that a refusal can say so.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{ConfigError, FileFormat, Map, Source, Value, ValueKind};

use super::{Config, DEFAULTS, DatabaseUrl, check, peers};

const PREFIX: &str = "TASKER__";
const DEFAULT_ORIGIN: &str = "default";

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("failed to read {file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A key is unknown, or its value is not allowed.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// File or environment variable.
        origin: String,
        /// Section and key, `engine.heartbeat_ms`.
        key: String,
        /// What is wrong. Does not repeat a secret.
        problem: String,
    },
}

/// One setting in force, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Section and key, `engine.heartbeat_ms`.
    pub key: String,
    /// Its value; secrets are masked.
    pub value: serde_json::Value,
    /// `default`, the file, or the environment variable.
    pub origin: String,
}

impl Config {
    /// Reads the defaults, then `file`, then those of the `environment`'s variables that are settings.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Error> {
        let settings = Settings::read(file, environment)?;
        let config = settings.deserialize()?;
        check::check(&config).map_err(|(key, problem)| settings.refuse(key, problem))?;
        peers::check(&config.security.peers).map_err(|(key, problem)| settings.refuse(&key, problem))?;
        Ok(config)
    }

    /// Checks settings that were changed after they were loaded; a refusal names `origin` as their source.
    pub fn check(&self, origin: &str) -> Result<(), Error> {
        check::check(self).map_err(|(key, problem)| Error::Value {
            origin: origin.to_owned(),
            key: key.to_owned(),
            problem,
        })
    }

    /// [`load`](Config::load) with the variables of this process.
    pub fn from_process(file: Option<&Path>) -> Result<Config, Error> {
        Config::load(file, process_environment())
    }
}

/// Every setting in force with its origin, in order of its key. The arguments are those of [`Config::load`].
pub fn explain(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Entry>, Error> {
    let settings = Settings::read(file, environment)?;
    let shown = |key: &str, value: &Value| match &value.kind {
        ValueKind::String(url) if key == "database.url" => DatabaseUrl::new(url).to_string().into(),
        kind => json(kind),
    };
    let entries = settings.0.iter().map(|(key, setting)| Entry {
        key: key.clone(),
        value: shown(key, &setting.value),
        origin: setting.origin.clone(),
    });
    Ok(entries.collect())
}

/// The variables of this process; those that are not UTF-8 cannot be settings.
pub(crate) fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

struct Setting {
    value: Value,
    origin: String,
}

/// Settings by their full key.
struct Settings(BTreeMap<String, Setting>);

impl Settings {
    fn read(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Settings, Error> {
        let mut settings = Settings(BTreeMap::new());
        for (section, values) in parse(DEFAULTS, "the embedded defaults")? {
            for (name, value) in values.into_table().expect("the embedded defaults have sections only") {
                let setting = Setting { value, origin: DEFAULT_ORIGIN.to_owned() };
                settings.0.insert(format!("{section}.{name}"), setting);
            }
        }
        if let Some(path) = file {
            settings.add_file(path)?;
        }
        let mut variables: Vec<(String, String)> = environment.into_iter().collect();
        variables.sort();
        for (name, text) in variables {
            settings.add_variable(&name, &text)?;
        }
        Ok(settings)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Read { file: file.clone(), reason: error.to_string() })?;
        let refuse = |key: &str, problem: String| Error::Value { origin: file.clone(), key: key.to_owned(), problem };
        for (section, values) in sorted(parse(&text, &file)?) {
            if !self.has_section(&section) {
                return Err(refuse(&section, format!("unknown section; there are {}", self.sections())));
            }
            let ValueKind::Table(values) = values.kind else {
                return Err(refuse(&section, format!("expected a section, found {}", described(&values.kind))));
            };
            for (name, value) in sorted(values) {
                let key = format!("{section}.{name}");
                let Some(setting) = self.0.get_mut(&key) else {
                    return Err(refuse(&key, self.unknown_key(&section)));
                };
                if key == peers::KEY {
                    peers::check_types(&value.kind).map_err(|(key, problem)| refuse(&key, problem))?;
                } else {
                    same_type(&setting.value.kind, &value.kind).map_err(|problem| refuse(&key, problem))?;
                }
                *setting = Setting { value, origin: file.clone() };
            }
        }
        Ok(())
    }

    fn add_variable(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let key = if name == "DATABASE_URL" {
            // An empty variable is how a shell script says "not set".
            if text.is_empty() {
                return Ok(());
            }
            "database.url".to_owned()
        } else if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            // It may be meant for others. A program that cannot heed it does not stumble over it.
            if text.is_empty() || cfg!(not(feature = "otel")) {
                return Ok(());
            }
            "otel.endpoint".to_owned()
        } else if let Some(path) = name.strip_prefix(PREFIX) {
            path.to_ascii_lowercase().replacen("__", ".", 1)
        } else {
            return Ok(());
        };
        let refuse = |problem| Error::Value { origin: name.to_owned(), key: key.clone(), problem };
        if key == peers::KEY {
            return Err(refuse("is a list of tables, which only a file can have".to_owned()));
        }
        let Some(setting) = self.0.get_mut(&key) else {
            let section = key.split('.').next().unwrap_or_default();
            let problem = match self.has_section(section) {
                true => self.unknown_key(section),
                false => format!("unknown section; there are {}", self.sections()),
            };
            return Err(refuse(problem));
        };
        let kind = parse_as(&setting.value.kind, text).map_err(refuse)?;
        same_type(&setting.value.kind, &kind).map_err(refuse)?;
        *setting = Setting { value: Value::new(None, kind), origin: name.to_owned() };
        Ok(())
    }

    fn deserialize(&self) -> Result<Config, Error> {
        let mut builder = ::config::Config::builder();
        for (key, setting) in &self.0 {
            builder = builder.set_default(key, setting.value.clone()).map_err(|error| self.explain(error))?;
        }
        let built = builder.build().map_err(|error| self.explain(error))?;
        built.try_deserialize().map_err(|error| self.explain(error))
    }

    /// The crate's error with our origin of the key.
    fn explain(&self, error: ConfigError) -> Error {
        match error {
            ConfigError::Type { unexpected, expected, key, .. } => {
                self.refuse(key.as_deref().unwrap_or("?"), format!("expected {expected}, found {unexpected}"))
            }
            ConfigError::At { error, key, .. } => self.refuse(key.as_deref().unwrap_or("?"), error.to_string()),
            other => self.refuse("?", other.to_string()),
        }
    }

    fn refuse(&self, key: &str, problem: String) -> Error {
        // A key inside of a setting has the setting's origin.
        let setting = key.split('[').next().unwrap_or(key);
        let origin = self.0.get(setting).map_or(DEFAULT_ORIGIN, |setting| &setting.origin);
        Error::Value { origin: origin.to_owned(), key: key.to_owned(), problem }
    }

    fn has_section(&self, section: &str) -> bool {
        self.0.keys().any(|key| key.split('.').next() == Some(section))
    }

    fn sections(&self) -> String {
        let mut sections: Vec<&str> = self.0.keys().filter_map(|key| key.split('.').next()).collect();
        sections.dedup();
        sections.join(", ")
    }

    fn unknown_key(&self, section: &str) -> String {
        let prefix = format!("{section}.");
        let names: Vec<&str> = self.0.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
        format!("unknown key; [{section}] has {}", names.join(", "))
    }
}

fn parse(text: &str, file: &str) -> Result<Map<String, Value>, Error> {
    ::config::File::from_str(text, FileFormat::Toml).collect().map_err(|error| {
        let reason = match error {
            ConfigError::FileParse { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        Error::Syntax { file: file.to_owned(), reason: reason.trim_end().to_owned() }
    })
}

/// In order of the keys, so that of several faults the same one is always named.
fn sorted(map: Map<String, Value>) -> BTreeMap<String, Value> {
    map.into_iter().collect()
}

fn same_type(wanted: &ValueKind, found: &ValueKind) -> Result<(), String> {
    let fits = match (wanted, found) {
        // Every number here counts or measures something.
        (ValueKind::I64(_), ValueKind::I64(number)) if *number < 0 => return Err("must not be negative".to_owned()),
        (ValueKind::I64(_), ValueKind::I64(_)) => true,
        (ValueKind::Boolean(_), ValueKind::Boolean(_)) | (ValueKind::String(_), ValueKind::String(_)) => true,
        (ValueKind::Array(_), ValueKind::Array(items)) => {
            if let Some(item) = items.iter().find(|item| !matches!(item.kind, ValueKind::String(_))) {
                return Err(format!("expected a list of strings, found {} in it", described(&item.kind)));
            }
            true
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {}, found {}", described(wanted), described(found))) }
}

/// The text of an environment variable as a value of the type that the key has.
fn parse_as(wanted: &ValueKind, text: &str) -> Result<ValueKind, String> {
    match wanted {
        ValueKind::Boolean(_) => match text {
            "true" => Ok(ValueKind::Boolean(true)),
            "false" => Ok(ValueKind::Boolean(false)),
            _ => Err("expected true or false".to_owned()),
        },
        ValueKind::I64(_) => text.parse().map(ValueKind::I64).map_err(|_| "expected an integer".to_owned()),
        ValueKind::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(ValueKind::Array(items.map(Value::from).collect()))
        }
        _ => Ok(ValueKind::String(text.to_owned())),
    }
}

pub(super) fn described(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "an integer",
        ValueKind::Float(_) => "a decimal number",
        ValueKind::String(_) => "a string",
        ValueKind::Table(_) => "a section",
        ValueKind::Array(_) => "a list",
    }
}

fn json(kind: &ValueKind) -> serde_json::Value {
    match kind {
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::Array(items) => items.iter().map(|item| json(&item.kind)).collect(),
        ValueKind::Table(values) => {
            let values: BTreeMap<&String, &Value> = values.iter().collect();
            values.into_iter().map(|(name, value)| (name.clone(), json(&value.kind))).collect()
        }
        // Strings and, were there any, whatever else: as text.
        kind => kind.to_string().into(),
    }
}
