//! What a peer may do. The role of its key is looked up for each message, so that a list that was exchanged holds at
//! once. Without CURVE nobody is known, and everybody may do everything.

use std::sync::Arc;
use std::time::Instant;

use tasker_engine::{Capability, Event, Origin, PeerId, Refusal, RefusalKind};
use uuid::Uuid;

use super::Incoming;
use super::inbound::{Admitted, Door, Refused};
use super::log_limit::LogLimit;
use super::templates::capability_text;
use crate::protocol::{Message, MessageType};
use crate::security::{Access, Peer, PublicKey, Role};

/// Length of a routing id that nobody guesses, in bytes. A peer is sent what is meant for whoever had its routing id
/// before; with keys, it is held to one that only itself can know.
const ROUTING_ID_BYTES_MIN: usize = 16;

/// The metadata that the answer of `zap` puts on each message: the public key.
const USER_ID: &str = "User-Id";

/// Stands behind the [`Door`]'s checks with those of who it is.
pub(super) struct Roles {
    /// `None` without CURVE.
    access: Option<Access>,
    refusals: LogLimit,
}

/// Who sent a message.
#[derive(Debug)]
pub(super) struct Sender {
    /// The key, as libzmq tells it; never without one.
    pub(super) user: String,
    guessable: bool,
}

impl Roles {
    pub(super) fn new(access: Option<Access>) -> Roles {
        Roles { access, refusals: LogLimit::default() }
    }

    /// Who sent the message whose first frame this is (the routing id comes from the socket); `None` without CURVE.
    pub(super) fn sender(&self, routing_id: &[u8], first: Option<&mut zmq::Message>) -> Option<Sender> {
        self.access.as_ref()?;
        let guessable = routing_id.len() < ROUTING_ID_BYTES_MIN;
        let user = first.and_then(|frame| frame.gets(USER_ID)).unwrap_or_default().to_owned();
        Some(Sender { user, guessable })
    }

    /// What a message says, if its sender may say so.
    pub(super) fn admit(&mut self, door: &Door, peer: PeerId, sender: Option<&Sender>, message: Message) -> Admitted {
        let Some(access) = &self.access else { return door.admit(peer, message) };
        // What only a broker sends is an offence, whoever sends it.
        let Some(correlation) = correlation(&message) else { return door.admit(peer, message) };
        let origin = Origin { peer, correlation };
        let message_type = message.message_type();
        let known = sender.and_then(|sender| access.peer(&sender.user.parse::<PublicKey>().ok()?));
        let problem = match (&known, sender) {
            (None, _) | (_, None) => "the key of this connection is not listed any more".to_owned(),
            (Some(_), Some(sender)) if sender.guessable => {
                format!("the routing id is shorter than {ROUTING_ID_BYTES_MIN} bytes, so that others could guess it")
            }
            (Some(known), _) if !may(known.role, message_type) => {
                format!("`{}` is a {} and may not send {}", known.name, known.role, message_type.name())
            }
            (Some(known), _) => {
                let (origin, incoming) = door.admit(peer, message)?;
                let narrowed = narrow(known, incoming).map_err(|refusal| Refused::Value(origin, refusal));
                if let Err(Refused::Value(_, refusal)) = &narrowed {
                    self.log(sender, &refusal.message);
                }
                return narrowed.map(|incoming| (origin, incoming));
            }
        };
        self.log(sender, &problem);
        Err(Refused::Value(origin, Refusal::new(RefusalKind::Forbidden, problem)))
    }

    fn log(&mut self, sender: Option<&Sender>, problem: &str) {
        if let Some(left_out) = self.refusals.admit(Instant::now()) {
            let public_key = sender.map_or("", |sender| &sender.user);
            tracing::warn!(public_key, left_out, "refused a message: {problem}");
        }
    }
}

/// The command's id; `None` for what only a broker sends.
fn correlation(message: &Message) -> Option<Uuid> {
    Some(match message {
        Message::RegisterWorker(message) => message.correlation_id,
        Message::WorkerHeartbeat(message) => message.correlation_id,
        Message::ReportPartialResult(message) => message.correlation_id,
        Message::ReportBatchCompletion(message) => message.correlation_id,
        Message::ReturnSteps(message) => message.correlation_id,
        Message::UnregisterWorker(message) => message.correlation_id,
        Message::ReportProgress(message) => message.correlation_id,
        Message::RegisterTemplate(message) => message.correlation_id,
        Message::InitializeTask(message) => message.correlation_id,
        Message::TryTaskIfReady(message) => message.correlation_id,
        Message::TaskStatus(message) => message.correlation_id,
        Message::WaitForTask(message) => message.correlation_id,
        Message::ListTasks(message) => message.correlation_id,
        Message::CancelTask(message) => message.correlation_id,
        Message::RetryTask(message) => message.correlation_id,
        Message::ResolveStep(message) => message.correlation_id,
        Message::ListWorkers(message) => message.correlation_id,
        Message::HealthCheck(message) => message.correlation_id,
        Message::ListTemplates(message) => message.correlation_id,
        Message::ShowTemplate(message) => message.correlation_id,
        Message::AnnounceTasks(message) => message.correlation_id,
        Message::FindTask(message) => message.correlation_id,
        Message::PauseNamespace(message) => message.correlation_id,
        Message::ResumeNamespace(message) => message.correlation_id,
        Message::ListNamespaces(message) => message.correlation_id,
        Message::DrainWorker(message) => message.correlation_id,
        Message::ExplainStep(message) => message.correlation_id,
        _ => return None,
    })
}

/// The table of PROTOCOL.md.
fn may(role: Role, message: MessageType) -> bool {
    let roles: &[Role] = match message {
        MessageType::RegisterWorker
        | MessageType::WorkerHeartbeat
        | MessageType::ReportPartialResult
        | MessageType::ReportBatchCompletion
        | MessageType::ReturnSteps
        | MessageType::UnregisterWorker
        | MessageType::ReportProgress => &[Role::Worker],
        MessageType::RegisterTemplate | MessageType::TaskStatus | MessageType::HealthCheck => {
            &[Role::Worker, Role::Client, Role::Operator]
        }
        MessageType::InitializeTask
        | MessageType::TryTaskIfReady
        | MessageType::WaitForTask
        | MessageType::ListTasks
        | MessageType::ListTemplates
        | MessageType::ShowTemplate
        | MessageType::AnnounceTasks
        | MessageType::FindTask
        | MessageType::ExplainStep => &[Role::Client, Role::Operator],
        MessageType::CancelTask
        | MessageType::RetryTask
        | MessageType::ResolveStep
        | MessageType::ListWorkers
        | MessageType::PauseNamespace
        | MessageType::ResumeNamespace
        | MessageType::ListNamespaces
        | MessageType::DrainWorker => &[Role::Operator],
        _ => &[],
    };
    roles.contains(&role)
}

/// Holds a worker to its namespaces, and signs what must be known later.
fn narrow(known: &Arc<Peer>, mut incoming: Incoming) -> Result<Incoming, Refusal> {
    let foreign = |namespace: &str, field: String| {
        let message = format!("`{}` may not serve the namespace {namespace}", known.name);
        Refusal::new(RefusalKind::Forbidden, message).field(field)
    };
    match &mut incoming {
        Incoming::Event(Event::WorkerRegistered { worker, .. }) => {
            for (index, capability) in worker.capabilities.iter().enumerate() {
                let namespace = match capability {
                    Capability::Exact(key) => &key.namespace,
                    Capability::AnyVersion(namespace, _) | Capability::Namespace(namespace) => namespace,
                };
                if !known.serves(namespace) {
                    return Err(foreign(namespace, format!("templates[{index}].template"))
                        .position(capability_text(capability)));
                }
            }
            worker.key = Some(Arc::from(known.name.as_str()));
        }
        Incoming::Event(Event::TemplateSubmitted { template, .. }) if known.role == Role::Worker => {
            let namespace = &template.template.key.namespace;
            if !known.serves(namespace) {
                return Err(foreign(namespace, "yaml".to_owned()));
            }
        }
        Incoming::Event(Event::OperationAsked { operation, .. }) => {
            operation.actor = signed(known, &operation.actor);
        }
        Incoming::Event(Event::FleetActionAsked { action, .. }) => action.actor = signed(known, &action.actor),
        Incoming::Event(_)
        | Incoming::Health { .. }
        | Incoming::ListTasks { .. }
        | Incoming::TasksAnnounced { .. }
        | Incoming::FindTask { .. } => {}
    }
    Ok(incoming)
}

/// What the peer says of itself is its own affair; the key is not.
fn signed(known: &Peer, actor: &str) -> String {
    match actor {
        "" => known.name.clone(),
        actor if actor == known.name => known.name.clone(),
        actor => format!("{actor} ({})", known.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol_is_the_one_in_force() {
        let document = include_str!("../../PROTOCOL.md");
        let (_, section) = document.split_once("### Roles\n").expect("PROTOCOL.md has a section Roles");
        let heading = section.lines().find(|line| line.starts_with("| message")).expect("a table");
        let columns: Vec<&str> = heading.split('|').map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect();
        assert_eq!(columns, Role::ALL.map(Role::as_str));
        let mut documented = 0;
        for line in section.lines().skip_while(|line| !line.starts_with("| message")).skip(2) {
            if !line.starts_with('|') {
                break;
            }
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let names = cells.next().expect("a first cell");
            let allowed: Vec<bool> = cells.map(|cell| cell.starts_with("yes")).collect();
            for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
                let message = MessageType::ALL.iter().find(|message| message.name() == name);
                let message = *message.unwrap_or_else(|| panic!("{name} is no message"));
                assert_eq!(Role::ALL.map(|role| may(role, message)).to_vec(), allowed, "{name}");
                documented += 1;
            }
        }
        let sent_to_the_broker = MessageType::ALL.iter().filter(|message| matches!(**message as u16 >> 8, 1 | 3));
        assert_eq!(documented, sent_to_the_broker.count(), "messages in the table of PROTOCOL.md");
    }
}
