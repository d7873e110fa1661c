//! What is taken from peers while a commit is under way. What gathers behind it is the next commit: were that let grow with
//! the flood, everybody's answers would come later and later. So new work is refused first, and gladly: its sender has
//! lost nothing. Far beyond that everything is refused but heartbeats, so that memory is bounded whatever is sent.

use tasker_engine::{Deliver, Effects, Event, Read, Refusal, RefusalKind, Reply, Save};

/// Rows that may gather before new submissions are refused. Postgres takes some 200,000 of them a second in large groups, so
/// that what was taken waits for about 0.1 s of writing after the commit before it.
const SUBMISSION_ROWS_MAX: u64 = 20_000;
/// Bytes of messages that may gather before new submissions are refused: at 100 MB/s, a disk writes them in 0.2 s.
const SUBMISSION_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Rows, and things to be sent, that may gather before everything is refused: ten times as many as new work may add. Workers'
/// results come to less by far, because a worker never has more steps than slots.
const EFFECTS_MAX: u64 = 200_000;

/// Requests taken before the engine decides on them, which tells how many rows they are. One full command.
pub(super) const UNDECIDED_REQUESTS_MAX: u64 = 1_000;

/// How much has gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// To be written, about: a task with its steps counts for each.
    pub rows: u64,
    /// To be sent.
    pub deliveries: u64,
    /// Messages, as they came from the wire.
    pub bytes: u64,
    /// Requests for tasks that the engine has yet to decide on.
    pub requests: u64,
}

impl Weight {
    /// Of what the engine decided.
    pub fn of(effects: &Effects, saves_weighed: usize, deliveries_weighed: usize) -> Weight {
        Weight {
            rows: effects.saves[saves_weighed..].iter().map(rows).sum(),
            deliveries: effects.deliveries[deliveries_weighed..].iter().map(lines).sum(),
            ..Weight::default()
        }
    }

    /// Of a message that the engine has yet to decide on.
    pub fn undecided(event: &Event, bytes: u64) -> Weight {
        let requests = match event {
            Event::TasksSubmitted { requests, .. } => requests.len() as u64,
            _ => 0,
        };
        Weight { rows: requests, requests, deliveries: 1, bytes }
    }

    pub fn add(&mut self, other: Weight) {
        self.rows += other.rows;
        self.deliveries += other.deliveries;
        self.bytes += other.bytes;
        self.requests += other.requests;
    }
}

/// Whether an event of a peer is taken behind what has gathered already.
pub(super) fn admit(event: &Event, gathered: Weight) -> Result<(), Refusal> {
    if matches!(event, Event::WorkerBeat { .. } | Event::PeerUnreachable { .. }) {
        return Ok(());
    }
    if gathered.rows >= EFFECTS_MAX || gathered.deliveries >= EFFECTS_MAX {
        return Err(overloaded("rows and messages", EFFECTS_MAX));
    }
    let submission = matches!(event, Event::TasksSubmitted { .. } | Event::TemplateSubmitted { .. });
    if submission && gathered.rows >= SUBMISSION_ROWS_MAX {
        return Err(overloaded("rows", SUBMISSION_ROWS_MAX));
    }
    if submission && gathered.bytes >= SUBMISSION_BYTES_MAX {
        return Err(overloaded("bytes of messages", SUBMISSION_BYTES_MAX));
    }
    Ok(())
}

fn overloaded(what: &str, limit: u64) -> Refusal {
    let message = format!("{limit} {what} or more wait for the commit that is under way; try again later");
    Refusal::new(RefusalKind::Overloaded, message).limit(limit)
}

fn rows(save: &Save) -> u64 {
    match save {
        Save::Task(task) => 1 + task.template.steps.len() as u64,
        _ => 1,
    }
}

/// What a delivery takes, in messages of the usual size: a question for a large task makes a large answer.
fn lines(delivery: &Deliver) -> u64 {
    match delivery {
        Deliver::Reply { reply: Reply::Status(report), .. } => 1 + report.steps.len() as u64,
        Deliver::Reply { reply: Reply::Templates(reports), .. } => 1 + reports.len() as u64,
        Deliver::Reply { reply: Reply::Workers(reports), .. } => 1 + reports.len() as u64,
        Deliver::Reply { reply: Reply::Namespaces(reports), .. } => 1 + reports.len() as u64,
        Deliver::Reply { reply: Reply::Explained(explanation), .. }
        | Deliver::Read(Read::Explanation { live: Some(explanation), .. }) => 1 + explanation.steps.len() as u64,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use tasker_engine::{Beat, Origin, PeerId, RegistrationId, TaskRequest};
    use uuid::Uuid;

    use super::*;

    const ORIGIN: Origin = Origin { peer: PeerId(1), correlation: Uuid::nil() };

    fn submission() -> Event {
        Event::TasksSubmitted { origin: ORIGIN, requests: vec![Ok(TaskRequest::default())] }
    }

    fn report() -> Event {
        Event::ResultsReported { origin: ORIGIN, results: Vec::new() }
    }

    fn beat() -> Event {
        Event::WorkerBeat { origin: ORIGIN, registration: RegistrationId(Uuid::nil()), beat: Beat::default() }
    }

    fn limit(event: &Event, gathered: Weight) -> Option<u64> {
        let refusal = admit(event, gathered).err()?;
        assert_eq!(refusal.kind, RefusalKind::Overloaded);
        refusal.limit
    }

    #[test]
    fn submissions_are_refused_first_then_everything_but_heartbeats() {
        let gathered = |rows, deliveries, bytes| Weight { rows, deliveries, bytes, requests: 0 };
        for (weight, of_submission, of_report) in [
            (gathered(SUBMISSION_ROWS_MAX - 1, EFFECTS_MAX - 1, SUBMISSION_BYTES_MAX - 1), None, None),
            (gathered(SUBMISSION_ROWS_MAX, 0, 0), Some(SUBMISSION_ROWS_MAX), None),
            (gathered(0, 0, SUBMISSION_BYTES_MAX), Some(SUBMISSION_BYTES_MAX), None),
            (gathered(EFFECTS_MAX, 0, 0), Some(EFFECTS_MAX), Some(EFFECTS_MAX)),
            (gathered(0, EFFECTS_MAX, 0), Some(EFFECTS_MAX), Some(EFFECTS_MAX)),
        ] {
            assert_eq!(limit(&submission(), weight), of_submission, "{weight:?}");
            assert_eq!(limit(&report(), weight), of_report, "{weight:?}");
            assert_eq!(limit(&beat(), weight), None, "{weight:?}");
        }
    }
}
