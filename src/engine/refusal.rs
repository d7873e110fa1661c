//! Why a command was refused, for the gateway to put into words of the wire.

/// Why a command was refused. The gateway has the wire's code for each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of fault.
    pub kind: RefusalKind,
    /// One sentence for people.
    pub message: String,
    /// The field at fault.
    pub field: Option<String>,
    /// Where: template position, JSON pointer, byte of a document.
    pub position: Option<String>,
    /// The limit that was passed.
    pub limit: Option<u64>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A field has a value that is not allowed.
    InvalidField,
    /// A payload is not JSON that can be stored.
    InvalidJson,
    /// Too large.
    TooLarge,
    /// A template definition is not valid.
    InvalidTemplate,
    /// The version is registered with another content.
    TemplateConflict,
    /// No such template.
    UnknownTemplate,
    /// No such version of it.
    UnknownVersion,
    /// The context breaks the template's schema.
    InvalidContext,
    /// No such task.
    UnknownTask,
    /// No such step.
    UnknownStep,
    /// Does not apply in the present state.
    InvalidState,
    /// Not registered.
    UnknownWorker,
    /// A limit on load is reached.
    Overloaded,
    /// Postgres is away, or the broker is stopping.
    Unavailable,
    /// Postgres refused this one command.
    Refused,
    /// The peer may not do this.
    Forbidden,
}

impl RefusalKind {
    /// The code, as on the wire and in `commands.outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalKind::InvalidField => "invalid_field",
            RefusalKind::InvalidJson => "invalid_json",
            RefusalKind::TooLarge => "too_large",
            RefusalKind::InvalidTemplate => "invalid_template",
            RefusalKind::TemplateConflict => "template_conflict",
            RefusalKind::UnknownTemplate => "unknown_template",
            RefusalKind::UnknownVersion => "unknown_version",
            RefusalKind::InvalidContext => "invalid_context",
            RefusalKind::UnknownTask => "unknown_task",
            RefusalKind::UnknownStep => "unknown_step",
            RefusalKind::InvalidState => "invalid_state",
            RefusalKind::UnknownWorker => "unknown_worker",
            RefusalKind::Overloaded => "overloaded",
            RefusalKind::Unavailable => "unavailable",
            RefusalKind::Refused => "refused",
            RefusalKind::Forbidden => "forbidden",
        }
    }
}

impl Refusal {
    /// A refusal with a message only.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into(), field: None, position: None, limit: None }
    }

    /// Names the field.
    pub fn field(mut self, field: impl Into<String>) -> Refusal {
        self.field = Some(field.into());
        self
    }

    /// Says where.
    pub fn position(mut self, position: impl Into<String>) -> Refusal {
        self.position = Some(position.into());
        self
    }

    /// Names the limit.
    pub fn limit(mut self, limit: u64) -> Refusal {
        self.limit = Some(limit);
        self
    }
}
