//! Streams of events as they come over HTTP (`text/event-stream`): cut into lines, whatever the pieces in which they come.

use serde::Deserialize;
use uuid::Uuid;

/// What a stream has told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// Events.
    pub events: u64,
    /// Events that the broker says it has left out.
    pub lost: u64,
    /// The task of the last event that was about one.
    pub task: Option<Uuid>,
}

/// Takes pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// A line whose end has not come.
    rest: Vec<u8>,
    /// The event that is being told is about events that are not.
    is_gap: bool,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    task_id: Option<Uuid>,
    #[serde(default)]
    lost: u64,
}

impl Lines {
    /// What this piece tells. As a browser does it, every event is read.
    pub(super) fn take(&mut self, piece: &[u8]) -> Heard {
        self.rest.extend_from_slice(piece);
        let mut heard = Heard::default();
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return heard };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        for line in lines[..end].split(|byte| *byte == b'\n') {
            if let Some(name) = line.strip_prefix(b"event:") {
                self.is_gap = name.trim_ascii() == b"gap";
            } else if let Some(data) = line.strip_prefix(b"data:") {
                let told = serde_json::from_slice(data).unwrap_or(Told { task_id: None, lost: 0 });
                heard.events += u64::from(!self.is_gap);
                heard.lost += told.lost;
                heard.task = told.task_id.or(heard.task);
            } else if line.is_empty() {
                self.is_gap = false;
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_whatever_the_pieces() {
        let task = Uuid::from_u128(7);
        let text = format!(
            "id: 1\ndata: {{\"topic\":\"event.task.started\",\"task_id\":\"{task}\"}}\n\n:\n\nevent: gap\n\
             data: {{\"lost\":12}}\n\nid: 14\ndata: {{\"task_id\":null}}\n\n"
        );
        for size in [1, 7, text.len()] {
            let mut lines = Lines::default();
            let mut all = Heard::default();
            for piece in text.as_bytes().chunks(size) {
                let heard = lines.take(piece);
                all.events += heard.events;
                all.lost += heard.lost;
                all.task = heard.task.or(all.task);
            }
            assert_eq!(all, Heard { events: 2, lost: 12, task: Some(task) }, "in pieces of {size}");
        }
    }
}
