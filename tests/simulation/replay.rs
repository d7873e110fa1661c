//! After a refused group, as in `src/server/replay.rs`: another engine, and the same events one at a time.

use std::collections::BTreeSet;

use tasker_engine::{Deliver, Event, Failure, Origin, Outcome, Read, Refusal, RefusalKind, Reply, Save, StepReport};

use crate::broker::Group;
use crate::run::Sim;

const WAIT_AGAIN_MS: u64 = 1_000;

impl Sim {
    /// Handles everything that is not durable again, one event a group.
    pub fn start_over(&mut self, process: usize) {
        self.note(|| format!("broker {process} starts over"));
        let refused = self.brokers[process].in_flight.take().expect("a group was refused").group;
        let gathered = std::mem::take(&mut self.brokers[process].gathering);
        let deliveries = refused.deliveries.iter().chain(&gathered.deliveries);
        let events: Vec<Event> = refused.events.iter().chain(&gathered.events).cloned().flat_map(split).collect();
        let undecided: BTreeSet<Origin> = events.iter().filter_map(Event::origin).collect();
        let waits = waits_of(deliveries, &undecided);
        let messages = refused.messages.into_iter().chain(gathered.messages).collect();
        self.brokers[process].gathering.messages = messages;
        self.recover(process, Some(&undecided));
        for event in events.into_iter().chain(waits) {
            if self.faulty() && self.rng.chance(self.faults.crash_in_replay) {
                self.crash(process);
            }
            if !self.brokers[process].up {
                return;
            }
            self.replay(process, event);
        }
    }

    fn replay(&mut self, process: usize, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            self.decide(process, [event.clone()]);
            let question = self.take_question(process);
            let Some(refused) = self.settle(process) else {
                next = question.and_then(|read| self.answer(process, read).ok());
                continue;
            };
            let undecided = event.origin().into_iter().collect();
            self.recover(process, Some(&undecided));
            self.decide(process, waits_of(refused.iter(), &undecided));
            let rows = inbox_rows(&event);
            next = self.refuse(process, event);
            if next.is_none() && self.settle(process).is_some() {
                self.recover(process, Some(&undecided));
                self.hand_in_later(process, &rows);
            }
        }
    }

    fn take_question(&mut self, process: usize) -> Option<Read> {
        let deliveries = &mut self.brokers[process].gathering.deliveries;
        let place = deliveries.iter().position(|delivery| {
            matches!(
                delivery,
                Deliver::Read(Read::IdempotencyKeys { .. } | Read::EndedTasks { .. } | Read::Task { .. })
            )
        })?;
        match deliveries.remove(place) {
            Deliver::Read(read) => Some(read),
            Deliver::Reply { .. } | Deliver::Worker { .. } | Deliver::Publish(_) | Deliver::InboxLater { .. } => None,
        }
    }

    /// Commits what has gathered, and releases it; gives its deliveries back when the database refuses it.
    fn settle(&mut self, process: usize) -> Option<Vec<Deliver>> {
        let group = std::mem::take(&mut self.brokers[process].gathering);
        if group.is_empty() {
            self.release(process, group);
            return None;
        }
        if self.brokers[process].epoch != self.lane.epoch {
            self.brokers[process].up = false;
            return None;
        }
        if self.refuses(&group) {
            let Group { messages, deliveries, .. } = group;
            self.brokers[process].gathering.messages.extend(messages);
            return Some(deliveries);
        }
        self.apply(process, &group);
        self.release(process, group);
        None
    }

    fn refuse(&mut self, process: usize, event: Event) -> Option<Event> {
        match asked(event) {
            Event::ResultsReported { origin, mut results } if results.iter().any(|report| !report.refused) => {
                results.iter_mut().for_each(fail);
                Some(Event::ResultsReported { origin, results })
            }
            Event::WorkerRegistered { origin, mut worker }
                if worker.unacknowledged.iter().any(|report| !report.refused) =>
            {
                worker.unacknowledged.iter_mut().for_each(fail);
                Some(Event::WorkerRegistered { origin, worker })
            }
            Event::InboxTaken { rows } => {
                let now = self.clock(process);
                let refusal = Some("refused".to_owned());
                let saves = rows.into_iter().map(|(row, _)| Save::InboxTaken { row, refusal: refusal.clone() });
                self.brokers[process].gathering.decided.push((now, saves.collect()));
                None
            }
            event => {
                let reply = Reply::Refused(refusal(RefusalKind::Refused));
                let answer = event.origin().map(|to| (to, reply));
                self.brokers[process].gathering.messages.extend(answer);
                None
            }
        }
    }
}

pub(crate) fn refusal(kind: RefusalKind) -> Refusal {
    Refusal { kind, message: "simulated".to_owned(), field: None, position: None, limit: None }
}

fn waits_of<'a>(deliveries: impl Iterator<Item = &'a Deliver>, undecided: &BTreeSet<Origin>) -> Vec<Event> {
    let waits = deliveries.filter_map(|delivery| match delivery {
        Deliver::Reply { to, reply: Reply::Waited { task, .. } } => {
            Some(Event::WaitAsked { origin: *to, task: task.id, timeout_ms: WAIT_AGAIN_MS })
        }
        _ => None,
    });
    waits.filter(|wait| wait.origin().is_some_and(|origin| !undecided.contains(&origin))).collect()
}

fn inbox_rows(event: &Event) -> Vec<i64> {
    match event {
        Event::InboxTaken { rows } => rows.iter().map(|(row, _)| *row).collect(),
        Event::KeysLookedUp { submission, .. } => submission.inbox_rows().to_vec(),
        _ => Vec::new(),
    }
}

fn asked(event: Event) -> Event {
    match event {
        Event::KeysLookedUp { submission, .. } => submission.into_event(),
        Event::EndedTasksLoaded { reports, .. } => reports.into_event(),
        event => event,
    }
}

fn split(event: Event) -> Vec<Event> {
    match asked(event) {
        Event::ResultsReported { origin, results } => {
            results.into_iter().map(|report| Event::ResultsReported { origin, results: vec![report] }).collect()
        }
        Event::InboxTaken { rows } => rows.into_iter().map(|row| Event::InboxTaken { rows: vec![row] }).collect(),
        event => vec![event],
    }
}

fn fail(report: &mut StepReport) {
    report.outcome = Outcome::Failed(Box::new(Failure {
        class: "TaskerCore::Errors::ResultRefusedError".to_owned(),
        message: "the result could not be stored".to_owned(),
        ..Failure::default()
    }));
    report.metadata = None;
    report.events.clear();
    report.refused = true;
}
