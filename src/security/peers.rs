//! The list of peers: which keys there are, what the holder of each may do. It can be exchanged while the broker runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::key::PublicKey;

/// The namespace that stands for all.
const EVERY_NAMESPACE: &str = "*";

/// What the holder of a key may do. PROTOCOL.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Role {
    /// Run steps of some namespaces.
    Worker,
    /// Submit tasks and ask about them.
    Client,
    /// What a client may, and change tasks that run.
    Operator,
    /// Hear events.
    Subscriber,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Worker, Role::Client, Role::Operator, Role::Subscriber];

    /// As in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Worker => "worker",
            Role::Client => "client",
            Role::Operator => "operator",
            Role::Subscriber => "subscriber",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(name: String) -> Result<Role, String> {
        Role::ALL.into_iter().find(|role| role.as_str() == name).ok_or_else(|| {
            let names: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            format!("`{name}` is none of {}", names.join(", "))
        })
    }
}

/// The holder of a key: a fleet of workers, an application, a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What it is called in logs and records.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// What it may do.
    pub role: Role,
    /// Namespaces that a worker may serve; `*` for all.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

impl Peer {
    /// Whether it may serve templates of this namespace.
    pub fn serves(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|served| served == EVERY_NAMESPACE || served == namespace)
    }
}

/// The list in force, shared by those who ask and the one who exchanges it.
#[derive(Clone, Debug)]
pub struct Access(Arc<RwLock<Keys>>);

/// Peers by their keys.
type Keys = HashMap<PublicKey, Arc<Peer>>;

/// How a list differs from the one before it: names of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Have come.
    pub added: Vec<String>,
    /// Are gone.
    pub removed: Vec<String>,
    /// Have another key, role or other namespaces.
    pub changed: Vec<String>,
}

impl Access {
    /// A list. Of two peers with one key, which the configuration refuses, the later one counts.
    pub fn new(peers: &[Peer]) -> Access {
        Access(Arc::new(RwLock::new(by_key(peers))))
    }

    /// Whose key this is, if it is listed.
    pub fn peer(&self, key: &PublicKey) -> Option<Arc<Peer>> {
        // Whoever panicked with the lock has either not touched the list or exchanged it whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Exchanges the list. It holds from the next connection and the next message on.
    pub fn replace(&self, peers: &[Peer]) -> Changes {
        let new = by_key(peers);
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), new);
        let before: HashMap<&str, &Peer> = old.values().map(|peer| (peer.name.as_str(), &**peer)).collect();
        let mut changes = Changes::default();
        for peer in peers {
            match before.get(peer.name.as_str()) {
                None => changes.added.push(peer.name.clone()),
                Some(&earlier) if earlier != peer => changes.changed.push(peer.name.clone()),
                Some(_) => {}
            }
        }
        let gone = before.into_keys().filter(|name| !peers.iter().any(|peer| peer.name == *name));
        changes.removed.extend(gone.map(str::to_owned));
        changes.removed.sort_unstable();
        changes
    }
}

fn by_key(peers: &[Peer]) -> Keys {
    peers.iter().map(|peer| (peer.public_key, Arc::new(peer.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::KeyPair;
    use super::*;

    fn peer(name: &str, role: Role, namespaces: &[&str]) -> Peer {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        Peer { name: name.to_owned(), public_key: KeyPair::generate().public, role, namespaces }
    }

    #[test]
    fn a_new_list_holds_at_once_and_says_what_is_new() {
        let (kept, gone) = (peer("kept", Role::Client, &[]), peer("gone", Role::Operator, &[]));
        let promoted = peer("promoted", Role::Client, &[]);
        let access = Access::new(&[kept.clone(), gone.clone(), promoted.clone()]);
        assert_eq!(access.peer(&gone.public_key).as_deref(), Some(&gone));
        let (now_operator, new) =
            (Peer { role: Role::Operator, ..promoted.clone() }, peer("new", Role::Subscriber, &[]));
        let changes = access.replace(&[kept.clone(), now_operator, new.clone()]);
        let names = |name: &str| vec![name.to_owned()];
        let expected = Changes { added: names("new"), removed: names("gone"), changed: names("promoted") };
        assert_eq!(changes, expected);
        assert_eq!(access.peer(&gone.public_key), None);
        assert_eq!(access.peer(&promoted.public_key).map(|peer| peer.role), Some(Role::Operator));
        assert_eq!(access.peer(&new.public_key).as_deref(), Some(&new));
    }

    #[test]
    fn a_worker_serves_the_namespaces_that_it_is_given() {
        let some = peer("some", Role::Worker, &["billing", "shop"]);
        assert!(some.serves("shop") && !some.serves("shops") && !some.serves("*"));
        assert!(peer("all", Role::Worker, &["*"]).serves("anything"));
        assert!(!peer("none", Role::Client, &[]).serves("billing"));
    }
}
