//! The four bytes before every body: magic, protocol version, message type.

/// First byte of every header (`T`): tells our traffic from a stray client's.
pub const MAGIC: u8 = 0x54;
/// The protocol version spoken here. A header with another version is refused with `unsupported_version`.
pub const PROTOCOL_VERSION: u8 = 1;
/// Length of the header frame in bytes: magic, version, message type (big-endian `u16`).
pub const HEADER_BYTES: usize = 4;

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The type of a message, as sent in the header. The high byte names the group: 1 worker to broker,
        /// 2 broker to worker, 3 client to broker, 4 broker to client, 5 errors, 6 events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum MessageType { $($(#[$doc])* $name = $code,)* }

        impl MessageType {
            /// Every message type, in order of its code.
            pub const ALL: &[MessageType] = &[$(MessageType::$name,)*];

            /// The name, as PROTOCOL.md and every client spell it.
            pub const fn name(self) -> &'static str {
                match self { $(MessageType::$name => stringify!($name),)* }
            }

            /// The type for a code, or `None` for a code that this version does not define.
            pub const fn from_code(code: u16) -> Option<MessageType> {
                match code { $($code => Some(MessageType::$name),)* _ => None }
            }
        }
    };
}

message_types! {
    /// Worker: here I am, with these templates and this many slots.
    RegisterWorker = 0x0101,
    /// Worker: still alive.
    WorkerHeartbeat = 0x0102,
    /// Worker: outcomes of one or more steps.
    ReportPartialResult = 0x0103,
    /// Worker: closing report of a batch.
    ReportBatchCompletion = 0x0104,
    /// Worker: steps it will not run.
    ReturnSteps = 0x0105,
    /// Worker: leaving.
    UnregisterWorker = 0x0106,
    /// Worker: how far a step is.
    ReportProgress = 0x0107,
    /// Broker: registration accepted, with the settings to use.
    WorkerRegistered = 0x0201,
    /// Broker: heartbeat seen.
    HeartbeatAcknowledged = 0x0202,
    /// Broker: run these steps.
    ExecuteBatch = 0x0203,
    /// Broker: these reports are durable and may be forgotten.
    ResultsAccepted = 0x0204,
    /// Broker: a completion named results that never arrived.
    ResultsMissing = 0x0205,
    /// Broker: stop these steps.
    CancelSteps = 0x0206,
    /// Broker: finish what you have and leave.
    Drain = 0x0207,
    /// Broker: I do not know you; register again.
    RegisterAgain = 0x0208,
    /// Broker: the registration is closed.
    WorkerUnregistered = 0x0209,
    /// Client: store a template.
    RegisterTemplate = 0x0301,
    /// Client: create tasks.
    InitializeTask = 0x0302,
    /// Client: dispatch what is ready of a task.
    TryTaskIfReady = 0x0303,
    /// Client: how is a task?
    TaskStatus = 0x0304,
    /// Client: answer when a task has ended.
    WaitForTask = 0x0305,
    /// Client: list tasks.
    ListTasks = 0x0306,
    /// Client: cancel a task.
    CancelTask = 0x0307,
    /// Operator: reset failed steps of a task.
    RetryTask = 0x0308,
    /// Operator: resolve one step by hand.
    ResolveStep = 0x0309,
    /// Client: list workers.
    ListWorkers = 0x030A,
    /// Client: is the broker well?
    HealthCheck = 0x030B,
    /// Client: list templates.
    ListTemplates = 0x030C,
    /// Client: one template with its definition.
    ShowTemplate = 0x030D,
    /// Client: rows were put into the inbox.
    AnnounceTasks = 0x030E,
    /// Client: which task has this idempotency key?
    FindTask = 0x030F,
    /// Operator: hand out no step of a namespace.
    PauseNamespace = 0x0310,
    /// Operator: hand out its steps again.
    ResumeNamespace = 0x0311,
    /// Operator: list namespaces.
    ListNamespaces = 0x0312,
    /// Operator: let a worker finish and leave.
    DrainWorker = 0x0313,
    /// Client: why does a step not run?
    ExplainStep = 0x0314,
    /// Reply to `RegisterTemplate`.
    TemplateRegistered = 0x0401,
    /// Reply to `InitializeTask`.
    TasksInitialized = 0x0402,
    /// Reply to `TryTaskIfReady`.
    TaskTried = 0x0403,
    /// Reply to `TaskStatus`.
    TaskStatusReport = 0x0404,
    /// Reply to `WaitForTask`.
    TaskWaited = 0x0405,
    /// Reply to `ListTasks`.
    TaskList = 0x0406,
    /// Reply to `CancelTask`.
    TaskCancelled = 0x0407,
    /// Reply to `RetryTask`.
    TaskRetried = 0x0408,
    /// Reply to `ResolveStep`.
    StepResolved = 0x0409,
    /// Reply to `ListWorkers`.
    WorkerList = 0x040A,
    /// Reply to `HealthCheck`.
    HealthReport = 0x040B,
    /// Reply to `ListTemplates`.
    TemplateList = 0x040C,
    /// Reply to `ShowTemplate`.
    TemplateDefinition = 0x040D,
    /// Reply to `AnnounceTasks`.
    TasksAnnounced = 0x040E,
    /// Reply to `FindTask`.
    TaskFound = 0x040F,
    /// Reply to `PauseNamespace` and `ResumeNamespace`.
    NamespaceChanged = 0x0410,
    /// Reply to `ListNamespaces`.
    NamespaceList = 0x0411,
    /// Reply to `DrainWorker`.
    WorkerDraining = 0x0412,
    /// Reply to `ExplainStep`.
    StepExplained = 0x0413,
    /// Broker: a refusal, to a client or a worker.
    Error = 0x0501,
    /// Broker, on PUB: something happened.
    Event = 0x0601,
    /// Broker, on PUB: a hint to workers.
    Control = 0x0602,
}

impl MessageType {
    /// The header that announces this type.
    pub const fn header(self) -> [u8; HEADER_BYTES] {
        let [high, low] = (self as u16).to_be_bytes();
        [MAGIC, PROTOCOL_VERSION, high, low]
    }
}
