//! How many tasks a filter selects. Counting as far as it goes takes some hundredths of a second, and a page that follows events
//! asks each second: that there are more than are counted is remembered for a while. Fewer are counted each time, so that small
//! numbers are exact.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::filter::Filter;
use crate::store::{self, COUNT_MAX, Count};

/// For how long it is believed that there are still so many. Tasks end sooner than they leave the database, so that this concerns
/// filters by state.
const BELIEVED: Duration = Duration::from_secs(30);

/// Filters that are remembered: more than people have open.
const FILTERS_MAX: usize = 200;

/// Filters that select more tasks than are counted, and when that was seen.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<HashMap<String, Instant>>);

impl Counts {
    /// Counts, unless it is known to be too many.
    pub(super) async fn count(&self, pool: &PgPool, filter: &Filter) -> Result<Count, store::Error> {
        let text = filter.to_string();
        if self.exceeds(&text) {
            return Ok(Count { tasks: COUNT_MAX, is_capped: true });
        }
        let count = store::count_tasks(pool, filter).await?;
        if count.tasks >= COUNT_MAX {
            self.remember(text);
        }
        Ok(count)
    }

    fn exceeds(&self, filter: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(filter).is_some_and(|seen| seen.elapsed() < BELIEVED)
    }

    fn remember(&self, filter: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, seen| seen.elapsed() < BELIEVED);
        // With so many filters at a time, each is counted when it is asked for.
        if known.len() < FILTERS_MAX {
            known.insert(filter, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_filters_are_remembered_and_no_more() {
        let counts = Counts::default();
        (0..=FILTERS_MAX).for_each(|number| counts.remember(format!("tag:{number}")));
        assert!(counts.exceeds("tag:0"));
        assert!(!counts.exceeds(&format!("tag:{FILTERS_MAX}")), "there is no room for it");
        assert!(!counts.exceeds("tag:other"));
    }
}
