//! Who has the sockets: the gateway's thread as a rule, and for a moment whoever finds it at rest. While little goes on,
//! waking that thread takes longer than what it has to do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::carrier::Carrier;
use super::sockets::ROUTER;
use super::watch::{Told, Watch};
use super::{Outbox, Outgoing, Stopped};

/// Larger groups are left to the gateway's thread, so that they are packed while the engine goes on. A step's end and the
/// next one's dispatch are two messages and a few events.
const MESSAGES_AT_ONCE: usize = 16;

/// The sockets with all that is known of those behind them.
pub(super) struct Shared {
    /// Gone when the gateway's thread has ended. The lock is also the fence that libzmq wants where another thread goes
    /// on with a socket.
    carrier: Mutex<Option<Carrier>>,
    /// Somebody else reads what peers say.
    is_relieved: AtomicBool,
    /// There was something to read while the gateway's thread had the sockets.
    is_missed: AtomicBool,
}

/// Closes the sockets at the end of the thread, whatever ends it.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let carrier = self.0.lock().take();
        // Without the lock: the last messages may take a while to leave.
        drop(carrier);
    }
}

impl Shared {
    pub(super) fn new(carrier: Carrier) -> Shared {
        let carrier = Mutex::new(Some(carrier));
        Shared { carrier, is_relieved: AtomicBool::new(false), is_missed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Carrier>> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gateway's thread.
    pub(super) fn run(&self, watch: &Watch) {
        let _closing = Closing(self);
        let mut told = Told::default();
        loop {
            let relieved = self.is_relieved.load(Ordering::Acquire);
            let plan = self.lock().as_mut().and_then(|carrier| carrier.turn(told, !relieved));
            let Some(plan) = plan else { return };
            told = watch.wait(plan);
            told.sockets[ROUTER] |= self.is_missed.swap(false, Ordering::AcqRel);
        }
    }

    /// Lets somebody else use the sockets, unless they are in use.
    fn visit(&self, told: bool) -> bool {
        let Ok(mut carrier) = self.carrier.try_lock() else { return false };
        if let Some(carrier) = &mut *carrier {
            carrier.visit(told);
        }
        true
    }
}

/// The engine's own way to the sockets: it sends, and reads what peers say, without waking the gateway's thread.
pub struct Line {
    shared: Arc<Shared>,
    outbox: Outbox,
    signs: OwnedFd,
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, outbox: Outbox) -> io::Result<Line> {
        let signs = shared.lock().as_ref().map(|carrier| carrier.router_fd().try_clone_to_owned()).transpose()?;
        let signs = signs.ok_or(io::ErrorKind::NotConnected)?;
        Ok(Line { shared, outbox, signs })
    }

    /// A descriptor that becomes readable when there may be something to [`Line::read`]. It may show that when there is
    /// nothing, and shows each thing once: to be watched for changes (`EPOLLET`), and never to be read itself.
    pub fn signs(&self) -> io::Result<OwnedFd> {
        self.signs.try_clone()
    }

    /// Whether the caller reads what peers say, instead of the gateway's thread. It does so at each of the signs then, and
    /// once now.
    pub fn listen(&self, listens: bool) {
        self.shared.is_relieved.store(listens, Ordering::Release);
        if listens {
            self.read();
        } else {
            self.outbox.wake.signal();
        }
    }

    /// Reads what peers have said, which is then in the inbox that the gateway was started with. The gateway's thread does,
    /// should that have the sockets: a look at ten thousand connections takes its time.
    pub fn read(&self) {
        if !self.shared.visit(true) {
            self.shared.is_missed.store(true, Ordering::Release);
            self.outbox.wake.signal();
        }
    }

    /// Like [`Outbox::send`]; what is little leaves before this returns, when the gateway's thread is at rest.
    pub fn send(&self, group: Vec<Outgoing>) -> Result<(), Stopped> {
        if group.is_empty() {
            return Ok(());
        }
        if group.len() > MESSAGES_AT_ONCE || self.outbox.has_groups() {
            return self.outbox.send(group);
        }
        // What is handed over before the lock is had is not overlooked: whoever has it is called.
        self.outbox.put_silently(group)?;
        if !self.shared.visit(false) {
            self.outbox.wake.signal();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Line").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use crossbeam_channel::Receiver;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use tasker_engine::{Refusal, RefusalKind};
    use uuid::Uuid;
    use zmq::{Context, SNDMORE, Socket, SocketType};

    use super::*;
    use crate::gateway::{Gateway, Incoming, Options, Received};
    use crate::protocol::{self, HealthCheck, HealthLevel, HealthReport, Message};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn start() -> (Gateway, Receiver<Received>) {
        let options = Options {
            work: vec!["tcp://127.0.0.1:0".to_owned()],
            events: vec!["tcp://127.0.0.1:0".to_owned()],
            allow_insecure: false,
            security: None,
            connections_max: 10,
            peers_max: 10,
            peer_bytes_max: 10_000,
            payload_bytes_max: 1_000,
            message_bytes_max: 1_000,
            template_bytes_max: 1_000,
            tasks_per_command_max: 1,
            inbox_events_max: 10,
            inbox_bytes_max: 10_000,
            broker_id: Uuid::nil(),
            epoch: 1,
            heartbeat_ms: 1_000,
            worker_timeout_ms: 5_000,
            unacknowledged_max: 10,
            tracing: None,
            environment: None,
            parse_template: |_, _, _| Err(Refusal::new(RefusalKind::InvalidTemplate, "there are none")),
        };
        let (sender, inbox) = crossbeam_channel::unbounded();
        (Gateway::start(options, sender, Arc::default()).expect("loopback can be bound"), inbox)
    }

    /// A peer, and how it asks a question.
    fn peer(gateway: &Gateway) -> (Socket, impl Fn(&Socket)) {
        let dealer = Context::new().socket(SocketType::DEALER).expect("descriptors are left");
        dealer.connect(&gateway.endpoints().work[0]).expect("it is bound");
        (dealer, |dealer| {
            let command = HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic };
            let (header, body) = protocol::encode(&Message::from(command));
            dealer.send(&header[..], SNDMORE).expect("room");
            dealer.send(body, 0).expect("room");
        })
    }

    /// Waits until something can be read from the line.
    fn wait(line: &Line) {
        let mut fds = [PollFd::new(line.signs.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).expect("some seconds");
        assert_eq!(poll(&mut fds, patience), Ok(1), "nothing has come");
    }

    #[test]
    fn what_is_missed_while_the_gateways_thread_has_the_sockets_is_read_by_it() {
        let (gateway, inbox) = start();
        let line = gateway.line().expect("descriptors are left");
        let (dealer, ask) = peer(&gateway);
        ask(&dealer);
        inbox.recv_timeout(PATIENCE).expect("the gateway's thread reads");
        line.listen(true);
        // Twice: it may have been in its poll with the socket still.
        for _ in 0..2 {
            let sockets = gateway.shared.lock();
            ask(&dealer);
            wait(&line);
            line.read();
            drop(sockets);
            inbox.recv_timeout(PATIENCE).expect("the gateway's thread reads what was missed");
        }
    }

    #[test]
    fn what_came_before_something_was_sent_is_read_after_it() {
        let (gateway, inbox) = start();
        let line = gateway.line().expect("descriptors are left");
        let (dealer, ask) = peer(&gateway);
        ask(&dealer);
        let first = inbox.recv_timeout(PATIENCE).expect("the gateway's thread reads").incoming;
        let Incoming::Health { origin: to, .. } = first else { panic!("not a question: {first:?}") };
        // Often: libzmq looks for signs while it sends, and takes them, about once a millisecond.
        for _ in 0..500 {
            let mut sockets = gateway.shared.lock();
            ask(&dealer);
            wait(&line);
            let report = HealthReport { correlation_id: to.correlation, ..HealthReport::default() };
            let group = vec![Outgoing::Message { to, message: Box::new(report.into()) }];
            line.outbox.put_silently(group).expect("the gateway runs");
            let carrier = sockets.as_mut().expect("the gateway runs");
            carrier.visit(false);
            // The sign may have been of something else, and then there is another one.
            let received = loop {
                if let Ok(received) = inbox.try_recv() {
                    break received;
                }
                wait(&line);
                carrier.visit(true);
            };
            gateway.budget().give_back(received.bytes);
        }
    }
}
