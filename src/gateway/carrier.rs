//! What is done with the sockets by whoever has them: what waits is sent, a burst read and handed on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};
use nix::poll::PollTimeout;
use tasker_engine::{NoticeKind, Origin, PeerId, Reply};
use uuid::Uuid;

use super::bundles::Bundles;
use super::desk::{Answers, DESK};
use super::frames::{Encoded, Frames, send_frames};
use super::guard::{Guard, Link, Size};
use super::inbound::{Door, Refused};
use super::inbox::{Full, Inbox};
use super::limits::*;
use super::notices::{Published, Publisher};
use super::peers::Peers;
use super::refusals::Refusals;
use super::roles::{Roles, Sender};
use super::sockets::Sockets;
use super::stir::Stir;
use super::templates::Compiler;
use super::traffic::Traffic;
use super::wake::Wake;
use super::watch::{Plan, Told, Watch};
use super::{Incoming, Options, Outgoing, PeerCounts, Settings, outbound};
use crate::protocol::{ControlKind, ErrorCode, ErrorReply, HealthLevel, Message, MessageType, RefusalCount};

/// What is handed to the thread.
pub(super) enum Parcel {
    Group(Vec<Outgoing>),
    /// A command of the desk, and its size.
    Asked {
        command: Box<Message>,
        bytes: u64,
    },
    /// Nothing follows.
    Stop,
}

pub(super) struct Carrier {
    sockets: Sockets,
    outgoing: Receiver<Parcel>,
    wake: Arc<Wake>,
    inbox: Inbox,
    peers: Peers,
    guard: Guard,
    refusals: Refusals,
    traffic: Arc<Traffic>,
    door: Door,
    roles: Roles,
    settings: Settings,
    publisher: Publisher,
    desk: Answers,
    /// What this turn has for peers that take several messages at once.
    bundles: Bundles,
    /// Nothing is sent any more.
    is_over: bool,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl Carrier {
    pub(super) fn new(
        options: Options,
        sockets: Sockets,
        outgoing: Receiver<Parcel>,
        wake: Arc<Wake>,
        stir: Stir,
        inbox: Inbox,
        desk: Answers,
    ) -> Carrier {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let door = Door {
            payload_bytes_max: size(options.payload_bytes_max),
            tasks_per_command_max: size(options.tasks_per_command_max.into()),
            compiler: Compiler {
                parse: options.parse_template,
                environment: options.environment,
                template_bytes_max: size(options.template_bytes_max),
            },
        };
        let settings = Settings {
            broker_id: options.broker_id,
            epoch: options.epoch,
            heartbeat_ms: options.heartbeat_ms,
            worker_timeout_ms: options.worker_timeout_ms,
            payload_bytes_max: options.payload_bytes_max,
            message_bytes_max: options.message_bytes_max,
            unacknowledged_max: options.unacknowledged_max,
            tracing: options.tracing,
        };
        let traffic = Arc::new(Traffic::default());
        let guard = Guard::new(&sockets, stir, options.peer_bytes_max, options.connections_max);
        Carrier {
            sockets,
            outgoing,
            wake,
            inbox,
            peers: Peers::new(options.peers_max),
            guard,
            refusals: Refusals::new(traffic.clone()),
            traffic,
            door,
            roles: Roles::new(options.security.map(|security| security.access)),
            settings,
            publisher: Publisher::new(options.broker_id, desk.clone()),
            desk,
            bundles: Bundles::default(),
            is_over: false,
        }
    }

    /// What comes and goes.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// One round of the gateway's thread, after what has told it: sends what waits, and reads a burst. What to wait for then;
    /// nothing when this was the last round.
    pub(super) fn turn(&mut self, told: Told, hears: bool) -> Option<Plan> {
        for (socket, told) in self.sockets.all().into_iter().zip(told.sockets) {
            if told {
                socket.wake();
            }
        }
        if told.bytes {
            self.guard.stir();
        }
        self.send_waiting();
        self.send_bundles();
        if self.is_over {
            return None;
        }
        if self.sockets.may_tell_of_connections() {
            self.guard.hear(&self.sockets);
        }
        self.hear_subscribers();
        for peer in self.guard.sweep() {
            self.lose(peer);
        }
        self.traffic.connections(self.guard.connections(), self.guard.cut, self.guard.handshakes_failed);
        self.inbox.hand_over();
        self.read_burst();
        self.inbox.hand_over();
        self.send_bundles();
        let at_most = if !self.sockets.are_silent() {
            PollTimeout::ZERO
        } else if self.inbox.waits() {
            // A full inbox gives no sign when it has room again, so it is tried anew.
            INBOX_RETRY_MS.into()
        } else {
            self.guard.sleep_max()
        };
        Some(Plan { at_most, messages: hears, bytes: self.guard.is_calm() })
    }

    /// What somebody else does in the place of the gateway's thread, while that waits: sends what waits, and reads what has come.
    /// The thread is called when it has to do the rest, or to wait for something else.
    pub(super) fn visit(&mut self, told: bool) {
        let next_look = self.guard.next_sweep();
        if told {
            self.sockets.router.wake();
        }
        self.send_waiting();
        self.send_bundles();
        if !self.is_over {
            self.read_burst();
            self.inbox.hand_over();
            self.send_bundles();
        }
        let looks_earlier = self.guard.next_sweep().is_some_and(|next| next_look.is_none_or(|then| next < then));
        if self.is_over || looks_earlier || self.inbox.waits() || !self.sockets.are_silent() {
            self.wake.signal();
        }
    }

    /// Tells when peers have said something.
    pub(super) fn router_fd(&self) -> BorrowedFd<'_> {
        self.sockets.router.as_fd()
    }

    /// To wait for this carrier.
    pub(super) fn watch(&self) -> io::Result<Watch> {
        Watch::new(&self.sockets, &self.guard, self.wake.clone())
    }

    fn send_waiting(&mut self) {
        // As many groups as the outbox holds: then the peers get their turn, whatever else is handed over meanwhile.
        for _ in 0..OUTBOX_GROUPS_MAX {
            match self.outgoing.try_recv() {
                Ok(Parcel::Group(group)) => group.into_iter().for_each(|outgoing| self.send(outgoing)),
                Ok(Parcel::Asked { command, bytes }) => self.take_asked(*command, bytes),
                Err(TryRecvError::Empty) => return,
                Ok(Parcel::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_over = true;
                    return;
                }
            }
        }
        self.wake.signal();
    }

    fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Reply { to: Origin { peer: DESK, correlation }, reply } => {
                let to = Origin { peer: DESK, correlation };
                self.answer_desk(correlation, outbound::reply(&self.settings, to, reply));
            }
            Outgoing::Message { to: Origin { peer: DESK, correlation }, message } => {
                self.answer_desk(correlation, *message);
            }
            Outgoing::Reply { to, reply } => {
                match &reply {
                    Reply::WorkerRegistered { .. } => self.peers.mark_worker(to.peer, true),
                    Reply::WorkerUnregistered { .. } | Reply::RegisterAgain { .. } => {
                        self.peers.mark_worker(to.peer, false);
                    }
                    _ => {}
                }
                self.peers.answer(to.peer);
                self.send_message(to.peer, &outbound::reply(&self.settings, to, reply));
            }
            Outgoing::Message { to, message } => {
                self.peers.answer(to.peer);
                self.send_message(to.peer, &message);
            }
            Outgoing::Worker { peer, message } => {
                self.send_message(peer, &outbound::worker_message(&self.settings, message));
            }
            Outgoing::Publish(notice) => {
                let cancelled = notice.task.filter(|_| notice.kind == NoticeKind::TaskCancelled);
                let event = self.publisher.event(notice);
                self.publish(event);
                if cancelled.is_some() {
                    let control = self.publisher.control(ControlKind::Cancel, cancelled);
                    self.publish(control);
                }
            }
            Outgoing::Control { kind, task } => {
                let control = self.publisher.control(kind, task);
                self.publish(control);
            }
        }
    }

    fn answer_desk(&mut self, correlation_id: Uuid, message: Message) {
        if let Message::Error(error) = &message {
            self.refusals.count(error);
        }
        self.desk.answer(correlation_id, message);
    }

    fn send_message(&mut self, peer: PeerId, message: &Message) {
        if let Message::Error(error) = message {
            self.refusals.count(error);
        }
        let message = Encoded::of(message);
        match self.peers.bundle_max(peer) {
            0 | 1 if !self.bundles.has(peer) => self.dispatch(peer, &mut [message]),
            takes => {
                if let Some(mut messages) = self.bundles.add(peer, takes, message) {
                    self.dispatch(peer, &mut messages);
                }
            }
        }
    }

    fn send_bundles(&mut self) {
        for (peer, mut messages) in self.bundles.take() {
            self.dispatch(peer, &mut messages);
        }
    }

    /// Sends messages to a peer, as one.
    fn dispatch(&mut self, peer: PeerId, messages: &mut [Encoded]) {
        let link = self.peers.link(peer).unwrap_or_default();
        if self.guard.is_clogged(&link) {
            return self.lose(peer);
        }
        let Some(routing_id) = self.peers.routing_id(peer) else {
            self.inbox.put_unreachable(peer);
            return;
        };
        let size: Size = messages.iter().map(Encoded::size).sum();
        match send_frames(&self.sockets.router, routing_id, messages) {
            Ok(()) => {
                self.traffic.sent(messages.len(), size.bytes);
                self.guard.has_sent(&link, size);
            }
            // Its queue is full. It may read on later, but these messages are lost.
            Err(zmq::Error::EAGAIN) => {
                self.inbox.put_unreachable(peer);
            }
            Err(error) => {
                if error != zmq::Error::EHOSTUNREACH {
                    tracing::error!(peer = peer.0, %error, "failed to send to a peer");
                }
                self.lose(peer);
            }
        }
    }

    /// The way to a peer is gone.
    fn lose(&mut self, peer: PeerId) {
        self.peers.forget(peer);
        self.inbox.put_unreachable(peer);
    }

    fn publish(&mut self, published: Option<Published>) {
        let Some((topic, message)) = published else { return };
        let message = Encoded::of(&message);
        let size = message.size();
        match send_frames(&self.sockets.publisher, topic.as_bytes(), &mut [message]) {
            Ok(()) => {
                self.traffic.published(size.bytes);
                self.guard.has_published(size.with_frame(topic.len()));
            }
            Err(error) => tracing::error!(topic, %error, "failed to publish an event"),
        }
    }

    fn hear_subscribers(&mut self) {
        let mut frame = zmq::Message::new();
        for _ in 0..BURST_MESSAGES_MAX {
            if !self.sockets.publisher.may_have_messages() || !self.sockets.publisher.receive(&mut frame) {
                return;
            }
            self.publisher.hear(&frame);
        }
    }

    fn read_burst(&mut self) {
        let mut frames = Frames::new();
        let mut read = 0;
        while read < BURST_MESSAGES_MAX && self.sockets.router.may_have_messages() && frames.read(&self.sockets.router)
        {
            read += frames.count().unwrap_or(1);
            self.take(&mut frames);
        }
    }

    fn take(&mut self, frames: &mut Frames) {
        let (routing_id, first) = frames.origin();
        let sender = self.roles.sender(routing_id, first);
        let user = sender.as_ref().map(|sender| sender.user.as_str());
        if let Some(displaced) = user.and_then(|user| self.peers.displace(&frames.routing_id, user)) {
            tracing::warn!(peer = displaced.0, "another key came with the routing id of a peer");
            self.inbox.put_unreachable(displaced);
            self.inbox.hand_over();
        }
        match frames.count() {
            Ok(count) => (0..count).for_each(|index| self.take_message(frames, Ok(index), sender.as_ref())),
            Err(error) => self.take_message(frames, Err(error), sender.as_ref()),
        }
    }

    /// One of the messages that were read, or all of them as what is none. Each is as if it had come by itself: the one before it
    /// may have cost the peer its place, when there was no way back to say what was wrong with it.
    fn take_message(&mut self, frames: &mut Frames, which: Result<usize, Box<ErrorReply>>, sender: Option<&Sender>) {
        let size = which.as_ref().map_or(frames.size, |&index| frames.size_of(index));
        self.traffic.received(size.bytes);
        let user = sender.map(|sender| sender.user.as_str());
        let Some(peer) = self.peers.seen(&frames.routing_id, user) else {
            let error = ErrorReply::new(ErrorCode::Overloaded, "the broker has as many peers as it takes");
            let error = ErrorReply { retry_after_ms: Some(RETRY_AFTER_MS), ..error };
            self.refusals.count(&error);
            // Whether a stranger can be reached is nobody's concern.
            let _ = send_frames(&self.sockets.router, &frames.routing_id, &mut [Encoded::of(&error.into())]);
            // The link is not kept: who is refused so is rare enough to be looked up each time.
            self.guard.has_read(&self.sockets, (None, &mut Link::default()), size, || frames.fd());
            return;
        };
        self.guard.has_read(&self.sockets, (Some(peer), self.peers.link_mut(peer)), size, || frames.fd());
        if self.peers.is_silenced(peer) {
            return;
        }
        let message = match which.and_then(|index| frames.message(index)) {
            Ok(message) => message,
            Err(error) => return self.offence(peer, *error),
        };
        if let Message::RegisterWorker(introduction) = &message {
            self.peers.takes_bundles(peer, introduction.bundle_max);
        }
        // A heartbeat is never refused: it costs nothing, and a refusal would cost the worker its steps.
        let vital = message.message_type() == MessageType::WorkerHeartbeat;
        // What is never answered is not counted, and what may be lost is not refused.
        let unanswered = message.message_type() == MessageType::ReportProgress;
        match self.roles.admit(&self.door, peer, sender, message) {
            Ok((origin, mut incoming)) => {
                self.peers.pardon(peer);
                if let Incoming::Health { level: HealthLevel::Full, counts, .. } = &mut incoming {
                    *counts = Some(self.counts());
                }
                if vital {
                    // Counted like every command, however many there are already.
                    self.peers.ask(peer);
                    if !self.inbox.put_beat(peer, incoming) {
                        self.peers.answer(peer);
                    }
                } else if unanswered {
                    let bytes = size.bytes as u64;
                    if self.inbox.room(bytes).is_ok() {
                        self.inbox.put(incoming, bytes);
                    }
                } else if let Err(error) = self.take_command(peer, origin, incoming, size.bytes as u64) {
                    self.send_message(peer, &(*error).into());
                }
            }
            Err(Refused::Value(origin, refusal)) => {
                self.peers.pardon(peer);
                self.send_message(peer, &outbound::error_reply(origin.correlation, refusal).into());
            }
            Err(Refused::Direction(message_type)) => {
                let name = message_type.name();
                let message = format!("{name} is sent by the broker, not to it");
                self.offence(peer, ErrorReply::new(ErrorCode::UnknownMessage, message));
            }
        }
    }

    /// What came from the desk: no stranger, so that there are neither roles nor offences, but the same door and limits.
    fn take_asked(&mut self, command: Message, bytes: u64) {
        let admitted = match self.door.admit(DESK, command) {
            Ok((origin, mut incoming)) => {
                if let Incoming::Health { level: HealthLevel::Full, counts, .. } = &mut incoming {
                    *counts = Some(self.counts());
                }
                let room = self.room(origin, bytes);
                room.map(|()| self.inbox.put(incoming, bytes))
            }
            Err(Refused::Value(origin, refusal)) => Err(Box::new(outbound::error_reply(origin.correlation, refusal))),
            Err(Refused::Direction(message_type)) => {
                unreachable!("the desk sends commands of clients, and {} is none", message_type.name())
            }
        };
        if let Err(error) = admitted {
            self.answer_desk(error.correlation_id, (*error).into());
        }
    }

    fn counts(&self) -> PeerCounts {
        let counts = self.traffic.counts();
        let refusals = counts.refusals.into_iter().filter(|&(_, count)| count > 0);
        PeerCounts {
            connections: counts.connections,
            connections_cut: counts.connections_cut,
            handshakes_failed: counts.handshakes_failed,
            refusals: refusals.map(|(code, count)| RefusalCount { code: code.to_owned(), count }).collect(),
        }
    }

    fn room(&mut self, o: Origin, bytes: u64) -> Result<(), Box<ErrorReply>> {
        self.inbox.room(bytes).map_err(|full| match full {
            Full::Events(limit) => overloaded(o, format!("{limit} messages wait for the broker already"), limit),
            Full::Bytes(limit) => {
                let message = format!("the broker holds {limit} bytes of messages that it is not done with, or nearly");
                overloaded(o, message, limit)
            }
        })
    }

    fn take_command(&mut self, peer: PeerId, o: Origin, incoming: Incoming, bytes: u64) -> Result<(), Box<ErrorReply>> {
        self.room(o, bytes)?;
        if !self.peers.ask(peer) {
            let limit = COMMANDS_OUTSTANDING_MAX;
            let message = format!("{limit} commands of this connection are not answered yet");
            return Err(overloaded(o, message, limit.into()));
        }
        self.inbox.put(incoming, bytes);
        Ok(())
    }

    fn offence(&mut self, peer: PeerId, error: ErrorReply) {
        if self.peers.offend(peer) {
            tracing::warn!(peer = peer.0, error = error.message, "silenced a peer after repeated offences");
        }
        self.send_message(peer, &error.into());
    }
}

fn overloaded(origin: Origin, message: String, limit: u64) -> Box<ErrorReply> {
    let error = ErrorReply::new(ErrorCode::Overloaded, message).for_command(origin.correlation);
    Box::new(ErrorReply { retry_after_ms: Some(RETRY_AFTER_MS), ..error.with_limit(limit) })
}
