//! Which trace a task is in, and which ids its spans have. All of it follows from the ids of task and batch and from the
//! `traceparent` of the request: a broker that was restarted, or another one that took over, goes on in the same trace.

use sha2::{Digest, Sha256};
use tasker_engine::{BatchId, TaskId, TaskLabels};

/// The bit of the flags that says that a trace is recorded.
const SAMPLED: u8 = 1;

/// Bits of a trace id that are random by the standard (W3C Trace Context, level 2), and are in a version 7 UUID.
const RANDOM_BITS: u32 = 56;

/// How many of the tasks that come without a trace are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One of so many; 0 for none.
    pub one_in: u64,
}

impl Sampling {
    /// Whether a trace that begins here is recorded. Every broker says the same of it.
    fn takes(self, trace: u128) -> bool {
        let random = trace & ((1 << RANDOM_BITS) - 1);
        self.one_in > 0 && random < (1 << RANDOM_BITS) / u128::from(self.one_in)
    }
}

/// Where a task is in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTrace {
    /// The trace.
    pub trace: u128,
    /// The submitter's span; none when the trace begins with the task.
    pub parent: Option<u64>,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TaskTrace {
    /// The trace of the request. When it has none that can be read, the task has one of its own, whose id is the task's.
    pub fn of(task: TaskId, labels: &TaskLabels, sampling: Sampling) -> TaskTrace {
        let given = labels.trace.as_ref().and_then(|trace| parse(&trace.parent));
        given.unwrap_or_else(|| {
            let trace = task.0.as_u128();
            TaskTrace { trace, parent: None, sampled: sampling.takes(trace) }
        })
    }

    /// The `traceparent` of whatever is below one of its spans.
    pub fn traceparent(&self, span: u64) -> String {
        format!("00-{:032x}-{span:016x}-{:02x}", self.trace, u8::from(self.sampled) * SAMPLED)
    }
}

/// Reads a `traceparent`; of a later version as much as this one has.
fn parse(text: &str) -> Option<TaskTrace> {
    let mut parts = text.trim().splitn(5, '-');
    let mut next = |digits: usize| parts.next().filter(|part| part.len() == digits && part.bytes().all(is_hex));
    let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|&span| span != 0)?;
    let sampled = u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0;
    Some(TaskTrace { trace, parent: Some(span), sampled })
}

/// The standard has no capitals.
fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The span of a task.
pub fn task_span(task: TaskId) -> u64 {
    span("task", task, &[])
}

/// The span of an attempt. One that came back unrun leaves its id to the next that has its number.
pub fn attempt_span(task: TaskId, step: u32, attempt: u32) -> u64 {
    span("attempt", task, &[&step.to_be_bytes(), &attempt.to_be_bytes()])
}

/// The span of a wait for a worker, which ended with that batch.
pub fn wait_span(task: TaskId, step: u32, batch: BatchId) -> u64 {
    span("wait", task, &[&step.to_be_bytes(), batch.0.as_bytes()])
}

/// The span of a step in a batch from which it came back unrun.
pub fn returned_span(task: TaskId, step: u32, batch: BatchId) -> u64 {
    span("returned", task, &[&step.to_be_bytes(), batch.0.as_bytes()])
}

/// The span of a task that ran again, until then.
pub fn again_span(task: TaskId, ended_ms: i64) -> u64 {
    span("again", task, &[&ended_ms.to_be_bytes()])
}

/// The first 64 bits of a SHA-256, but never 0, which is no span. Nobody can choose a task's id, so that two of the spans of a
/// trace have the same id once in 2^64 pairs.
fn span(kind: &str, task: TaskId, parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new_with_prefix(kind);
    hash.update(task.0.as_bytes());
    parts.iter().for_each(|part| hash.update(part));
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0, |id: u64, &byte| id << 8 | u64::from(byte));
    first.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tasker_engine::{IdSource, TraceContext, Wall};
    use uuid::Uuid;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const ALL: Sampling = Sampling { one_in: 1 };

    fn task() -> TaskId {
        TaskId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1))
    }

    fn trace_of(parent: &str) -> TaskTrace {
        let trace = TraceContext::of(Some(parent.into()), None);
        TaskTrace::of(task(), &TaskLabels { trace, ..TaskLabels::default() }, ALL)
    }

    #[test]
    fn a_task_is_in_the_trace_of_its_request() {
        let trace = trace_of(PARENT);
        assert_eq!(
            (trace.trace, trace.parent),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, Some(0xb7ad_6b71_6920_3331))
        );
        assert_eq!(trace.traceparent(0xb7ad_6b71_6920_3331), PARENT);
        assert!(!trace_of(&PARENT.replace("-01", "-00")).sampled);
        assert_eq!(trace_of(&PARENT.replace("-01", "-00")).traceparent(1)[52..], *"-00");
        assert_eq!(trace_of(&format!("cc{}-more", &PARENT[2..])), trace, "a later version says as much");
    }

    #[test]
    fn a_task_without_a_trace_has_its_own() {
        let own = TaskTrace { trace: task().0.as_u128(), parent: None, sampled: true };
        for none in [
            "".to_owned(),
            "no trace".to_owned(),
            PARENT.to_uppercase(),
            format!("ff{}", &PARENT[2..]),
            format!("{PARENT}-more"),
            PARENT[..54].to_owned(),
            PARENT.replace('0', "é"),
            PARENT.replace("-b7ad", "-+7ad"),
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        ] {
            assert_eq!(trace_of(&none), own, "{none:?}");
        }
        assert_eq!(TaskTrace::of(task(), &TaskLabels::default(), ALL), own);
        assert_eq!(own.traceparent(0xa1), "00-019000000000700080000000000000a1-00000000000000a1-01");
    }

    #[test]
    fn of_tasks_without_a_trace_about_so_many_are_recorded() {
        let mut ids = IdSource::new([1, 2]);
        let tasks: Vec<TaskId> = (0..20_000).map(|ms| TaskId(ids.uuid(Wall(ms)))).collect();
        let taken = |one_in| {
            let sampled = |task: &&TaskId| TaskTrace::of(**task, &TaskLabels::default(), Sampling { one_in }).sampled;
            tasks.iter().filter(sampled).count()
        };
        assert_eq!((taken(0), taken(1)), (0, 20_000));
        assert!((1_800..2_200).contains(&taken(10)), "{} of 20,000", taken(10));
    }

    #[test]
    fn the_ids_of_spans_stay_as_they_are_and_differ() {
        // A broker of another release goes on in the same trace.
        assert_eq!(task_span(task()), 0xb8de_c457_35ac_9e34);
        assert_eq!(attempt_span(task(), 2, 1), 0x9c53_a6c2_a040_a4b6);
        let batch = BatchId(Uuid::from_u128(7));
        let mut ids = HashSet::new();
        for step in 0..50 {
            ids.extend((1..20).map(|attempt| attempt_span(task(), step, attempt)));
            ids.extend([wait_span(task(), step, batch), returned_span(task(), step, batch)]);
        }
        ids.extend([task_span(task()), again_span(task(), 1), again_span(task(), 2)]);
        assert_eq!(ids.len(), 50 * 21 + 3);
    }
}
