//! `[[security.peers]]`: the one setting that is a list of tables. Its entries are read here, so that a refusal names
//! the entry and the key in it.

use ::config::{Value, ValueKind};

use super::load::described;
use crate::security::{Peer, Role};

/// The setting.
pub(super) const KEY: &str = "security.peers";

/// Longest name of a peer or namespace in bytes, as on the wire.
const NAME_BYTES_MAX: usize = 255;

/// What an entry may have, and whether it is a list.
const FIELDS: [(&str, bool); 4] = [("name", false), ("public_key", false), ("role", false), ("namespaces", true)];

/// A key below [`KEY`], and what is wrong with it.
pub(super) type Problem = (String, String);

/// Whether the entries are tables with the keys and types that there are. What their values mean is [`check`]ed later.
pub(super) fn check_types(kind: &ValueKind) -> Result<(), Problem> {
    let expected = |what: &str, found: &ValueKind| format!("expected {what}, found {}", described(found));
    let ValueKind::Array(entries) = kind else {
        return Err((KEY.to_owned(), expected("a list of tables", kind)));
    };
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("{KEY}[{index}]");
        let ValueKind::Table(values) = &entry.kind else {
            return Err((place, expected("a table", &entry.kind)));
        };
        // In order, so that of several faults the same one is always named.
        let mut names: Vec<&String> = values.keys().collect();
        names.sort_unstable();
        for name in names {
            let Some((_, is_list)) = FIELDS.iter().find(|(field, _)| field == name) else {
                let names = FIELDS.map(|(name, _)| name).join(", ");
                return Err((format!("{place}.{name}"), format!("unknown key; a peer has {names}")));
            };
            let found = &values[name].kind;
            let fits = match found {
                ValueKind::String(_) => !is_list,
                ValueKind::Array(items) => *is_list && items.iter().all(is_text),
                _ => false,
            };
            if !fits {
                let wanted = if *is_list { "a list of strings" } else { "a string" };
                return Err((format!("{place}.{name}"), expected(wanted, found)));
            }
        }
        if let Some((missing, _)) = FIELDS.iter().find(|(name, is_list)| !is_list && !values.contains_key(*name)) {
            return Err((format!("{place}.{missing}"), "is missing".to_owned()));
        }
        for name in ["role", "public_key"] {
            let text = values[name].kind.to_string();
            let problem = match name {
                "role" => Role::try_from(text).err(),
                _ => text.parse::<crate::security::PublicKey>().err().map(|error| error.to_string()),
            };
            if let Some(problem) = problem {
                return Err((format!("{place}.{name}"), problem));
            }
        }
    }
    Ok(())
}

fn is_text(value: &Value) -> bool {
    matches!(value.kind, ValueKind::String(_))
}

/// Whether the list makes sense.
pub(super) fn check(peers: &[Peer]) -> Result<(), Problem> {
    for (index, peer) in peers.iter().enumerate() {
        let refuse = |name: &str, problem: String| Err((format!("{KEY}[{index}].{name}"), problem));
        if let Err(problem) = check_name(&peer.name) {
            return refuse("name", problem);
        }
        for namespace in &peer.namespaces {
            if let Err(problem) = check_name(namespace) {
                return refuse("namespaces", problem);
            }
        }
        if peer.role == Role::Worker && peer.namespaces.is_empty() {
            return refuse(
                "namespaces",
                "a worker needs the namespaces that it may serve, or \"*\" for all".to_owned(),
            );
        }
        if peer.role != Role::Worker && !peer.namespaces.is_empty() {
            return refuse("namespaces", format!("only workers have namespaces, and this is a {}", peer.role));
        }
        if let Some(earlier) = peers[..index].iter().position(|earlier| earlier.name == peer.name) {
            return refuse("name", format!("`{}` is the name of {KEY}[{earlier}] already", peer.name));
        }
        if let Some(earlier) = peers[..index].iter().position(|earlier| earlier.public_key == peer.public_key) {
            return refuse("public_key", format!("is the key of {KEY}[{earlier}] already"));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes, not {}", name.len()));
    }
    if name.contains(char::is_control) {
        return Err("a name has no control characters".to_owned());
    }
    Ok(())
}
