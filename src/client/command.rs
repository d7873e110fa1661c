//! Which reply belongs to which command.

use uuid::Uuid;

use crate::protocol::*;

/// A message that a client sends, with the type of its reply.
pub trait Command: Into<Message> {
    /// The reply that is not a refusal.
    type Reply;

    /// Sets the id that the reply will carry.
    fn set_correlation_id(&mut self, correlation_id: Uuid);

    /// The reply and the id that it carries, if the message is one of this command.
    fn reply(message: Message) -> Option<(Uuid, Self::Reply)>;
}

macro_rules! commands {
    ($($command:ident => $reply:ident,)*) => {$(
        impl Command for $command {
            type Reply = $reply;

            fn set_correlation_id(&mut self, correlation_id: Uuid) {
                self.correlation_id = correlation_id;
            }

            fn reply(message: Message) -> Option<(Uuid, $reply)> {
                match message {
                    Message::$reply(reply) => Some((reply.correlation_id, reply)),
                    _ => None,
                }
            }
        }
    )*};
}

commands! {
    RegisterTemplate => TemplateRegistered,
    InitializeTask => TasksInitialized,
    TryTaskIfReady => TaskTried,
    TaskStatus => TaskStatusReport,
    WaitForTask => TaskWaited,
    ListTasks => TaskList,
    CancelTask => TaskCancelled,
    RetryTask => TaskRetried,
    ResolveStep => StepResolved,
    ListWorkers => WorkerList,
    HealthCheck => HealthReport,
    ListTemplates => TemplateList,
    ShowTemplate => TemplateDefinition,
    AnnounceTasks => TasksAnnounced,
    FindTask => TaskFound,
    PauseNamespace => NamespaceChanged,
    ResumeNamespace => NamespaceChanged,
    ListNamespaces => NamespaceList,
    DrainWorker => WorkerDraining,
    ExplainStep => StepExplained,
}
