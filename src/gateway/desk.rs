//! A peer inside of the process: whoever serves people over HTTP asks here what a client asks over a socket, passes the
//! same checks and limits, and hears the same events. The wire is left out, nothing else.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tasker_engine::PeerId;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::carrier::Parcel;
use super::listeners::{Interest, Listeners, News, Reader};
use super::{Outbox, Stopped};
use crate::protocol::{Message, encode};

/// The desk's number among peers. Those with connections are counted from 1.
pub(super) const DESK: PeerId = PeerId(0);

/// Asks the broker, and hears what it publishes.
#[derive(Clone)]
pub struct Desk {
    outbox: Outbox,
    answers: Answers,
}

/// Where answers go, by correlation id.
type Awaited = HashMap<Uuid, oneshot::Sender<Message>>;

/// Questions whose answer is awaited, and those who hear events: the gateway's end of the desk.
#[derive(Clone)]
pub(super) struct Answers {
    /// `None` when the gateway has stopped.
    awaited: Arc<Mutex<Option<Awaited>>>,
    listeners: Arc<Listeners>,
}

impl Desk {
    pub(super) fn new(outbox: Outbox, answers: Answers) -> Desk {
        Desk { outbox, answers }
    }

    /// Sends a client's command, and waits for its reply or refusal. `correlation_id` is that of the command, new for each.
    ///
    /// Nothing bounds the time: the broker holds what it has taken until it can be made durable.
    pub async fn ask(&self, correlation_id: Uuid, command: Message) -> Result<Message, Stopped> {
        let (tell, answer) = oneshot::channel();
        self.answers.with(|awaited| awaited.insert(correlation_id, tell)).ok_or(Stopped)?;
        let _forget = Forget { answers: &self.answers, correlation_id };
        // As many bytes as it would have on the wire: the limits on what waits are counted in them.
        let bytes = encode(&command).1.len() as u64;
        self.outbox.put(Parcel::Asked { command: Box::new(command), bytes })?;
        answer.await.map_err(|_| Stopped)
    }

    /// Reads these events from now on.
    pub fn read(&self, interest: Interest) -> Reader {
        self.answers.listeners.reader(interest)
    }

    /// Hears from now on that there are such events.
    pub fn news(&self, interest: Interest) -> News {
        self.answers.listeners.news(interest)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

/// Whoever asked may have gone away before the answer.
struct Forget<'a> {
    answers: &'a Answers,
    correlation_id: Uuid,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.answers.with(|awaited| awaited.remove(&self.correlation_id));
    }
}

impl Answers {
    pub(super) fn new() -> Answers {
        Answers { awaited: Arc::new(Mutex::new(Some(HashMap::new()))), listeners: Arc::default() }
    }

    /// Hands an answer to whoever waits for it.
    pub(super) fn answer(&self, correlation_id: Uuid, message: Message) {
        if let Some(Some(waiting)) = self.with(|awaited| awaited.remove(&correlation_id)) {
            // Gone in this very moment.
            let _ = waiting.send(message);
        }
    }

    /// Those who hear events.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Nobody gets an answer any more.
    pub(super) fn close(&self) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with<T>(&self, change: impl FnOnce(&mut Awaited) -> T) -> Option<T> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(change)
    }
}
