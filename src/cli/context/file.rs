//! The file with the contexts: brokers by name, and which of them is meant when nothing is said. It has no secrets, only the
//! names of files with them; but who can write it decides to whom commands go, so that only its owner may.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{Exit, Failure};

/// Names another file.
pub(in crate::cli) const VARIABLE: &str = "TASKER_CONTEXTS";

/// Only its owner reads and writes it.
const MODE: u32 = 0o600;
/// Permission to write of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Keys that would be secrets, which people put into files of this kind.
const SECRETS: [&str; 6] = ["secret_key", "key", "token", "password", "secret", "database_url"];

/// All contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Contexts {
    /// The one that is meant when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// Where one broker is, and how to be let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Context {
    /// Work endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// Events endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// The broker's public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_key: Option<String>,
    /// File with the client's secret key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Address of the HTTP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// File with the token for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// Where the contexts are: the variable, else in the user's folder for configuration; `None` when there is no such folder.
pub(in crate::cli) fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(VARIABLE).or_else(|| {
        let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
        Some(folder.join("tasker").join("contexts.toml"))
    })
}

impl Contexts {
    /// What the user's file says; without a file there are none.
    pub(in crate::cli) fn read() -> Result<Contexts, Failure> {
        path().map_or_else(|| Ok(Contexts::default()), |path| Contexts::read_from(&path))
    }

    pub(super) fn read_from(path: &Path) -> Result<Contexts, Failure> {
        let refuse = |problem: String| Failure::new(Exit::Configuration, format!("{}: {problem}", path.display()));
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
            read => read.map_err(|error| refuse(format!("cannot be read: {error}")))?,
        };
        let mode = fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?.mode() & 0o777;
        if mode & WRITABLE_BY_OTHERS != 0 {
            let problem =
                format!("can be written by others (its mode is {mode:03o}), who could send commands elsewhere");
            return Err(refuse(problem).with_hint(format!("`chmod 600 {}` makes it private", path.display())));
        }
        if let Some((context, key)) = secret(&text) {
            let problem = format!("contexts.{context}.{key}: a context holds no secret");
            return Err(refuse(problem).with_hint("name a file with it instead: key_file, token_file"));
        }
        toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
    }

    /// Writes the file whole or not at all.
    pub(super) fn write_to(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Broken, format!("{}: cannot be written: {error}", path.display()))
        };
        let text = toml::to_string(self).map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        let mut file = options.open(&draft).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)
    }

    /// The context with this name.
    pub(in crate::cli) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            let known = match names.as_slice() {
                [] => "there are none; `tasker context add` makes one".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            Failure::usage(format!("no context is called `{name}`; {known}"))
        })
    }

    /// All names, in order.
    pub(in crate::cli) fn names(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(String::as_str)
    }
}

/// The first key that says by its name that it is a secret.
fn secret(text: &str) -> Option<(String, String)> {
    let table: toml::Table = text.parse().ok()?;
    let contexts = table.get("contexts")?.as_table()?;
    contexts.iter().find_map(|(name, context)| {
        let key = context.as_table()?.keys().find(|key| SECRETS.contains(&key.as_str()))?;
        Some((name.clone(), key.clone()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.toml");
        fs::write(&path, text).expect("ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        (folder, path)
    }

    #[test]
    fn what_was_written_is_read_again_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/contexts.toml");
        let context = Context {
            broker: Some("tcp://broker:7570".to_owned()),
            key_file: Some("/etc/tasker/me.key".into()),
            ..Context::default()
        };
        let contexts = Contexts { current: Some("prod".to_owned()), contexts: [("prod".to_owned(), context)].into() };
        contexts.write_to(&path).expect("written");
        assert_eq!(Contexts::read_from(&path).expect("read"), contexts);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("there").count(), 1, "a draft was left");
        assert_eq!(Contexts::read_from(&folder.path().join("none")).expect("no file"), Contexts::default());
    }

    #[test]
    fn files_that_could_mislead_are_refused() {
        for (text, mode, problem) in [
            ("", 0o620, "can be written by others (its mode is 620)"),
            ("[contexts.a]\nsecret_key = \"x\"\n", 0o600, "contexts.a.secret_key: a context holds no secret"),
            ("[contexts.a]\ntoken = \"x\"\n", 0o600, "contexts.a.token: a context holds no secret"),
            ("[contexts.a]\nbrocker = \"x\"\n", 0o600, "unknown field `brocker`"),
            ("contexts = 5", 0o600, "invalid type"),
        ] {
            let (_folder, path) = written(text, mode);
            let failure = Contexts::read_from(&path).expect_err(text);
            assert_eq!(failure.exit, Exit::Configuration);
            assert!(failure.to_string().contains(problem), "{failure}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let (_folder, path) = written("[contexts.b]\n[contexts.a]\n", 0o644);
        let contexts = Contexts::read_from(&path).expect("read");
        let failure = contexts.get("c").expect_err("unknown");
        assert_eq!(failure.to_string(), "error: no context is called `c`; there are a, b\n");
        assert_eq!(failure.exit, Exit::Usage);
    }
}
