//! What to do when the database refuses a commit group: the engine is rebuilt from the store, and the group's events are
//! handled again, each in a group of its own, so that the one at fault stands alone and is refused alone.

use std::collections::BTreeSet;

use tasker_engine::{
    Deliver, Effects, Event, Failure, Origin, Outcome, Read, Refusal, RefusalKind, Reply, Save, StepReport,
};
use tracing::{error, warn};

use super::Error;
use super::event_loop::{Input, Loop};
use super::inbox;
use super::writer::Verdict;
use crate::gateway::Outgoing;
use crate::store;

/// Error class of an attempt whose result the database refused.
const REFUSED_CLASS: &str = "TaskerCore::Errors::ResultRefusedError";

/// How long a client waits on whose answer was decided by a group that was refused: its task ends again at once, or it is
/// told that the task has not ended and asks anew.
const WAIT_AGAIN_MS: u64 = 1_000;

impl Loop<'_> {
    /// Handles everything that is not durable again, one event a group.
    pub(super) fn start_over(&mut self, refusal: &store::Error) -> Result<(), Error> {
        warn!(error = %refusal, "the database refused a commit group; its events are handled again one by one");
        self.parts.numbers.shared().group_refused();
        let refused = self.in_flight.take().unwrap_or_default();
        let gathered = std::mem::take(&mut self.gathering);
        let deliveries = refused.effects.deliveries.iter().chain(&gathered.effects.deliveries);
        let events: Vec<Event> = refused.events.into_iter().chain(gathered.events).flat_map(split).collect();
        let undecided: BTreeSet<Origin> = events.iter().filter_map(Event::origin).collect();
        let waits = waits_of(deliveries, &undecided);
        self.gathering.messages = refused.messages;
        self.gathering.messages.extend(gathered.messages);
        self.rebuild(&undecided)?;
        for event in events.into_iter().chain(waits) {
            self.replay(event)?;
        }
        self.parts.budget.give_back(refused.weight.bytes + gathered.weight.bytes);
        Ok(())
    }

    fn rebuild(&mut self, undecided: &BTreeSet<Origin>) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let mut effects = Effects::default();
        let mut engine = self.parts.recovery.recover(now, &mut effects)?;
        engine.succeed(now, &self.parts.engine, undecided, &mut effects);
        self.parts.numbers.follow(&engine);
        self.parts.engine = engine;
        self.gathering.effects = effects;
        Ok(())
    }

    /// Handles one event in a group of its own. What it asks of the store belongs to it: were the answer left to come later,
    /// it would meet other events again, and with them the refusal of their group.
    fn replay(&mut self, event: Event) -> Result<(), Error> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            self.decide([event.clone()]);
            let question = self.take_question();
            let Some((refused, refusal)) = self.settle()? else {
                next = question.and_then(|read| self.parts.reads.answer_now(read));
                continue;
            };
            let undecided = event.origin().into_iter().collect();
            self.rebuild(&undecided)?;
            self.decide(waits_of(refused.deliveries.iter(), &undecided));
            let rows = inbox_rows(&event);
            next = self.refuse(event, &refusal);
            // What is said in the event's place is not to stand or fall with the event that follows.
            if next.is_none()
                && let Some((_, refusal)) = self.settle()?
            {
                error!(error = %refusal, "the database refuses to note what it has refused");
                self.rebuild(&undecided)?;
                // The inbox's reader would wait for them for ever; now it takes them up again.
                let _ = self.parts.inbox.send(inbox::Handed::Later(rows));
            }
        }
        Ok(())
    }

    /// Takes the question out that the engine needs an answer to before it can go on with an event.
    fn take_question(&mut self) -> Option<Read> {
        let deliveries = &mut self.gathering.effects.deliveries;
        let is_question = |delivery: &Deliver| {
            matches!(
                delivery,
                Deliver::Read(Read::IdempotencyKeys { .. } | Read::EndedTasks { .. } | Read::Task { .. })
            )
        };
        let place = deliveries.iter().position(is_question)?;
        match deliveries.remove(place) {
            Deliver::Read(read) => Some(read),
            Deliver::Reply { .. } | Deliver::Worker { .. } | Deliver::Publish(_) | Deliver::InboxLater { .. } => None,
        }
    }

    /// Commits what has gathered, and releases it. When the database refuses it, its effects are given back, and what the
    /// server itself had to say is kept for the next group.
    fn settle(&mut self) -> Result<Option<(Effects, store::Error)>, Error> {
        self.hand_over();
        if self.in_flight.is_none() {
            return Ok(None);
        }
        match self.verdict() {
            Verdict::Committed { rows } => {
                self.committed(rows);
                Ok(None)
            }
            Verdict::Failed(error) => Err(error),
            Verdict::Refused(refusal) => {
                self.parts.numbers.shared().group_refused();
                let refused = self.in_flight.take().unwrap_or_default();
                self.gathering.messages.extend(refused.messages);
                Ok(Some((refused.effects, refusal)))
            }
        }
    }

    /// Waits for the writer; other inputs are kept for later.
    fn verdict(&mut self) -> Verdict {
        loop {
            match self.writing.block_on(self.parts.inputs.recv()) {
                Some(Input::Written(verdict)) => {
                    self.parts.clock.commit_ended();
                    return verdict;
                }
                Some(other) => self.held.push_back(other),
                None => unreachable!("the loop's own end of the channel is held by its reads"),
            }
        }
    }

    /// The event that the database does not take: a result becomes a failure of its step, an inbox row keeps its refusal,
    /// and any other command is refused. Returns what to handle in its place.
    fn refuse(&mut self, event: Event, refusal: &store::Error) -> Option<Event> {
        error!(error = %refusal, "the database refuses one event");
        let message = refusal.to_string();
        match asked(event) {
            Event::ResultsReported { origin, mut results } if results.iter().any(|report| !report.refused) => {
                results.iter_mut().for_each(|report| fail(report, &message));
                Some(Event::ResultsReported { origin, results })
            }
            Event::WorkerRegistered { origin, mut worker }
                if worker.unacknowledged.iter().any(|report| !report.refused) =>
            {
                worker.unacknowledged.iter_mut().for_each(|report| fail(report, &message));
                Some(Event::WorkerRegistered { origin, worker })
            }
            Event::InboxTaken { rows } => {
                let refused = rows.into_iter().map(|(row, _)| Save::InboxTaken { row, refusal: Some(message.clone()) });
                self.gathering.effects.saves.extend(refused);
                None
            }
            event => {
                let reply = Reply::Refused(Refusal::new(RefusalKind::Refused, message));
                let answer = event.origin().map(|to| Outgoing::Reply { to, reply });
                self.gathering.messages.extend(answer);
                None
            }
        }
    }
}

/// Rows of the inbox that an event is about.
fn inbox_rows(event: &Event) -> Vec<i64> {
    match event {
        Event::InboxTaken { rows } => rows.iter().map(|(row, _)| *row).collect(),
        Event::KeysLookedUp { submission, .. } => submission.inbox_rows().to_vec(),
        _ => Vec::new(),
    }
}

/// The waits that answers of a refused group have ended, but for those that are about to be handled again.
fn waits_of<'a>(deliveries: impl Iterator<Item = &'a Deliver>, undecided: &BTreeSet<Origin>) -> Vec<Event> {
    let waits = deliveries.filter_map(wait_again);
    waits.filter(|wait| wait.origin().is_some_and(|origin| !undecided.contains(&origin))).collect()
}

/// The wait that an answer of the refused group has ended: that answer is not sent, so its client still waits.
fn wait_again(delivery: &Deliver) -> Option<Event> {
    match delivery {
        Deliver::Reply { to, reply: Reply::Waited { task, .. } } => {
            Some(Event::WaitAsked { origin: *to, task: task.id, timeout_ms: WAIT_AGAIN_MS })
        }
        _ => None,
    }
}

/// The event that requests or reports began with, when this is the answer of the store about them.
fn asked(event: Event) -> Event {
    match event {
        Event::KeysLookedUp { submission, .. } => submission.into_event(),
        Event::EndedTasksLoaded { reports, .. } => reports.into_event(),
        event => event,
    }
}

/// Takes an event apart, so that one bad row does not stand for others.
fn split(event: Event) -> Vec<Event> {
    // An answer is not worth more than its question, which the engine that takes over asks again.
    match asked(event) {
        Event::ResultsReported { origin, results } => {
            results.into_iter().map(|report| Event::ResultsReported { origin, results: vec![report] }).collect()
        }
        Event::InboxTaken { rows } => rows.into_iter().map(|row| Event::InboxTaken { rows: vec![row] }).collect(),
        event => vec![event],
    }
}

/// Puts a failure in the place of an outcome that cannot be stored.
fn fail(report: &mut StepReport, message: &str) {
    report.outcome = Outcome::Failed(Box::new(Failure {
        class: REFUSED_CLASS.to_owned(),
        message: format!("the result could not be stored: {message}"),
        ..Failure::default()
    }));
    report.metadata = None;
    report.events.clear();
    report.refused = true;
}
