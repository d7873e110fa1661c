//! The sizes that messages are held to before anything of them reaches the engine or the database. `PROTOCOL.md` has
//! the same numbers for client authors.

use std::time::Duration;

/// Names (worker, namespace, template, step, event) and other identifiers, in bytes. Long enough for any name that a
/// person reads, short enough for an index key.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Free text that people write: reasons, actors, source names, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// Tags of a task, each a name.
pub(super) const TAGS_MAX: usize = 64;
/// Outcomes, returned steps or completed steps of one message: as many as a worker's largest concurrency.
pub(super) const RESULTS_PER_MESSAGE_MAX: usize = 10_000;
/// Step names in one list: the size of the largest workflow that is promised to run well, twice.
pub(super) const STEP_NAMES_MAX: usize = 20_000;
/// Templates that a worker lists.
pub(super) const CAPABILITIES_MAX: usize = 1_000;
/// Batches that a worker claims as open: each has at least one step in a slot.
pub(super) const OPEN_BATCHES_MAX: usize = 10_000;
/// Rows of one `ListTasks` page.
pub(super) const LIST_ROWS_MAX: u32 = 1_000;
/// Custom events of one outcome.
pub(super) const EVENTS_PER_OUTCOME_MAX: usize = 100;

/// What a step says about how far it is, in bytes: a few numbers and a sentence. Each open attempt may keep as much in the
/// engine's memory.
pub(super) const PROGRESS_BYTES_MAX: usize = 4096;

/// An error's message in bytes; the rest is cut off.
pub(super) const ERROR_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Lines of a backtrace; the rest, which is the outermost part, is cut off.
pub(super) const BACKTRACE_LINES_MAX: usize = 100;
/// A line of a backtrace in bytes; the rest is cut off.
pub(super) const BACKTRACE_LINE_BYTES_MAX: usize = 1024;
/// A `retry_after`: an HTTP date has 29 bytes.
pub(super) const RETRY_AFTER_BYTES_MAX: usize = 64;

/// The last millisecond of the year 9999: later times do not fit the database's text forms.
pub(super) const TIME_MS_MAX: i64 = 253_402_300_799_999;
/// Largest number that the database's 32-bit columns take.
pub(super) const INTEGER_MAX: u32 = i32::MAX as u32;

/// Messages read in one go before what is waiting to be sent gets its turn.
pub(super) const BURST_MESSAGES_MAX: usize = 1_000;
/// Messages in a bundle, both ways. A turn has two or three for a worker that does one step after the other, and one for
/// each batch and each report of a busy one, which are large.
pub(super) const BUNDLE_MESSAGES_MAX: usize = 16;
/// Bytes of a bundle to a peer; what a network carries in less time than it takes to wake a thread.
pub(super) const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// Groups handed over for sending and not yet taken; the sender waits beyond.
pub(super) const OUTBOX_GROUPS_MAX: usize = 1_024;
/// How soon to look again whether the engine's full inbox has room.
pub(super) const INBOX_RETRY_MS: u8 = 1;
/// Commands of one peer that are not answered yet; as many as clients may wait for tasks.
pub(super) const COMMANDS_OUTSTANDING_MAX: u32 = 10_000;
/// Unreadable messages in a row after which a peer is no longer answered.
pub(super) const OFFENCES_MAX: u8 = 16;
/// How long an offender is neither heard nor answered.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// What a refused submitter is told to wait when the broker is overloaded or its database away.
pub(super) const RETRY_AFTER_MS: u64 = 1_000;
/// Prefixes of subscribers that are told apart; with more of them everything is published.
pub(super) const SUBSCRIPTIONS_MAX: usize = 256;
