//! Bugs that the simulated store, network and broker process can have on purpose; the engine has its own.

/// A bug of everything but the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Answers leave before what they tell of is durable.
    AnswerBeforeCommit,
    /// Batches leave before they are durable.
    BatchBeforeCommit,
    /// The store is asked before it holds what was decided before the question.
    ReadBeforeCommit,
    /// A broker that has lost the lane still writes.
    FenceNotChecked,
    /// A commit whose answer was lost is written again, without a look at what became of it.
    UnknownCommitRepeated,
    /// A crash leaves half of a group behind.
    GroupTornByCrash,
    /// What a refused group allowed is released.
    RefusedGroupReleased,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 7] = [
        Bug::AnswerBeforeCommit,
        Bug::BatchBeforeCommit,
        Bug::ReadBeforeCommit,
        Bug::FenceNotChecked,
        Bug::UnknownCommitRepeated,
        Bug::GroupTornByCrash,
        Bug::RefusedGroupReleased,
    ];
}
