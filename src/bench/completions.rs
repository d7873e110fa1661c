//! Hears when tasks end, by the broker's events; asks for those whose events were lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Error, Shared, Target};
use crate::client::{Client, Notice, Subscription};
use crate::protocol::{Event, Topic};

/// How a task may end.
const ENDS: [Topic; 4] = [Topic::TaskCompleted, Topic::TaskFailed, Topic::TaskCancelled, Topic::TaskResolved];

/// How often the listener looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// When tasks ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub at: HashMap<Uuid, Instant>,
    /// Of those that did not complete.
    pub failed: u64,
    pub last: Option<Instant>,
}

/// Starts a thread that listens until the run is over.
pub(super) fn listen(target: &Target, template: &str, shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let topics: Vec<&str> = ENDS.iter().map(|topic| topic.as_str()).collect();
    let mut subscription = Subscription::to_topics(&target.events, target.keys.as_ref(), &topics)?;
    let (template, shared) = (template.to_owned(), shared.clone());
    Ok(std::thread::spawn(move || {
        while !shared.is_over() {
            match subscription.next(Instant::now() + LOOK) {
                Ok(Some(Notice::Event(event))) if event.template.as_deref() == Some(&template) => note(&event, &shared),
                Ok(_) => {}
                Err(error) => shared.fail(error.into()),
            }
        }
    }))
}

fn note(event: &Event, shared: &Shared) {
    let Some(task) = event.task_id else { return };
    let now = Instant::now();
    {
        let mut ends = shared.ends();
        ends.at.insert(task, now);
        ends.failed += u64::from(event.topic != Topic::TaskCompleted.as_str());
        ends.last = Some(now);
    }
    shared.ended.fetch_add(1, Ordering::Relaxed);
}

/// Waits for the end of a task whatever became of its event.
pub(super) fn ask_for(client: &mut Client, task: Uuid) -> Result<(), Error> {
    let waited = client.wait_for_task(task, Some(super::STALL))?;
    if waited.finished {
        Ok(())
    } else {
        Err(Error::Stalled { waited: super::STALL, left: 1, template: waited.task.name })
    }
}
