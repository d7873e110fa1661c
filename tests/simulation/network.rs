//! The links between brokers and their peers. What was on the way when a connection is reset is lost, and the peer is
//! another one to the broker from then on.

use tasker_engine::{PeerId, Reply, TaskId, TaskState, WorkerMessage};
use uuid::Uuid;

/// Whom a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Worker(usize),
    Client(usize),
}

/// What a broker sends.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Reply(Uuid, Reply),
    Worker(WorkerMessage),
    /// An answer of the server itself about a task that is not live: `None` when there is no such task.
    Stored(Uuid, TaskId, Option<TaskState>),
}

/// One link. The two directions are cut apart from each other.
#[derive(Debug)]
pub(crate) struct Link {
    pub party: Party,
    pub peer: PeerId,
    /// Until when nothing arrives at the broker, and at the peer.
    pub deaf_broker_until: u64,
    pub deaf_peer_until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    links: Vec<Link>,
    peers: u64,
}

impl Network {
    pub fn connect(&mut self, party: Party) {
        self.peers += 1;
        let peer = PeerId(self.peers);
        self.links.push(Link { party, peer, deaf_broker_until: 0, deaf_peer_until: 0 });
    }

    pub fn of(&mut self, party: Party) -> &mut Link {
        self.links.iter_mut().find(|link| link.party == party).expect("every party has a link")
    }

    /// Whose present connection this is.
    pub fn by_peer(&self, peer: PeerId) -> Option<&Link> {
        self.links.iter().find(|link| link.peer == peer)
    }

    /// A new connection in place of the present one.
    pub fn reset(&mut self, party: Party) {
        self.peers += 1;
        self.of(party).peer = PeerId(self.peers);
    }

    pub fn reset_all(&mut self) {
        for link in &mut self.links {
            self.peers += 1;
            link.peer = PeerId(self.peers);
        }
    }
}
