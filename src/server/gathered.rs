//! A commit group while it gathers, and while it is with the writer.

use std::time::{Duration, Instant};

use tasker_engine::{Deliver, Effects, Event, Reply, Save};

use super::admission::Weight;
use super::metrics::Tally;
use crate::gateway::Outgoing;

/// How long the closing of a batch waits for other things to be committed with. A worker closes a batch right after its
/// last result, and nobody waits for that; but a commit for it alone would keep the next result waiting.
const COMPANY: Duration = Duration::from_millis(20);

/// What becomes one commit group.
#[derive(Default)]
pub(super) struct Gathered {
    /// What it was made of, to be handled again when the database refuses it.
    pub events: Vec<Event>,
    pub effects: Effects,
    /// What the server itself has to say.
    pub messages: Vec<Outgoing>,
    /// Inbox rows that it removes.
    pub inbox_rows: Vec<i64>,
    /// How much of all that there is.
    pub weight: Weight,
    /// Saves and deliveries that are in `weight`.
    weighed: (usize, usize),
    /// Since when it consists of closings of batches and nothing else.
    closings_since: Option<Instant>,
    /// When the writer got it, and how much there was to save.
    pub handed_over: Option<(Instant, usize)>,
    /// What its rows tell.
    pub tally: Tally,
}

impl Gathered {
    /// A group that is handed over as it is.
    pub fn of(effects: Effects) -> Gathered {
        Gathered { effects, ..Gathered::default() }
    }

    /// Takes into account what was decided since the last time.
    pub fn weigh(&mut self) {
        let was_empty = self.weighed == (0, 0);
        let (saves, deliveries) = self.weighed;
        let closings_only = self.messages.is_empty()
            && (was_empty || self.closings_since.is_some())
            && self.effects.saves[saves..].iter().all(is_closing)
            && self.effects.deliveries[deliveries..].iter().all(is_about_closings)
            && !self.effects.saves.is_empty();
        self.closings_since = closings_only.then(|| self.closings_since.unwrap_or_else(Instant::now));
        self.weight.add(Weight::of(&self.effects, saves, deliveries));
        self.weighed = (self.effects.saves.len(), self.effects.deliveries.len());
    }

    /// Until when it may wait for company; `None` when somebody waits for it.
    pub fn may_wait_until(&self) -> Option<Instant> {
        self.closings_since.map(|since| since + COMPANY)
    }
}

fn is_closing(save: &Save) -> bool {
    matches!(save, Save::BatchClosed { .. })
}

fn is_about_closings(delivery: &Deliver) -> bool {
    match delivery {
        Deliver::Publish(_) => true,
        Deliver::Reply { reply: Reply::ResultsAccepted { results, .. }, .. } => results.is_empty(),
        Deliver::Reply { .. } | Deliver::Worker { .. } | Deliver::InboxLater { .. } | Deliver::Read(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tasker_engine::{BatchId, BatchState, Origin, PeerId};
    use uuid::Uuid;

    use super::*;

    fn closing() -> Save {
        Save::BatchClosed { batch: BatchId(Uuid::nil()), state: BatchState::Completed, differences: Vec::new() }
    }

    fn reply(reply: Reply) -> Deliver {
        Deliver::Reply { to: Origin { peer: PeerId(1), correlation: Uuid::nil() }, reply }
    }

    fn acknowledged() -> Deliver {
        reply(Reply::ResultsAccepted { results: Vec::new(), closed_batches: vec![BatchId(Uuid::nil())] })
    }

    #[test]
    fn closings_wait_from_the_first_one_on() {
        let mut gathered = Gathered::default();
        gathered.weigh();
        assert_eq!(gathered.may_wait_until(), None, "there is nothing that could wait");
        gathered.effects.saves.push(closing());
        gathered.effects.deliveries.push(acknowledged());
        gathered.weigh();
        let until = gathered.may_wait_until();
        assert!(until.is_some());
        gathered.effects.saves.push(closing());
        gathered.weigh();
        assert_eq!(gathered.may_wait_until(), until);
    }

    #[test]
    fn nothing_else_waits_and_closings_do_not_wait_with_it() {
        let ended = || Save::InboxTaken { row: 1, refusal: None };
        let answer = || reply(Reply::HeartbeatAcknowledged);
        let mut with_save = Gathered::default();
        with_save.effects.saves.extend([closing(), ended()]);
        with_save.weigh();
        assert_eq!(with_save.may_wait_until(), None);
        let mut later = Gathered::default();
        later.effects.saves.push(closing());
        later.weigh();
        later.effects.deliveries.push(answer());
        later.weigh();
        assert_eq!(later.may_wait_until(), None);
        later.effects.saves.push(closing());
        later.weigh();
        assert_eq!(later.may_wait_until(), None, "somebody waits for the answer still");
    }
}
