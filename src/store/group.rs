//! A commit group: what is written together or not at all.

use tasker_engine::Save;
use uuid::Uuid;

/// Saves of one group, in the order in which the engine decided them.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What to write.
    pub saves: &'a [Save],
    /// The smallest id of a batch that is open when these saves are made; `None` when there is none. Readers look for open
    /// batches from here on.
    pub oldest_open_batch: Option<Uuid>,
}
