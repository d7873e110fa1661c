//! From days to months: what is old enough to leave.
//!
//! Everything is rounded to months, the time of a task's end as well as the age: of the tasks that ended in one month, all
//! leave on the same day, and no partition is rewritten for a handful of rows every day. "30 days" therefore means that a
//! row leaves 30 to 61 days after its end.

use sqlx::PgConnection;

use super::month::Month;
use crate::store::Error;

/// How long what is kept, in days. 0 keeps for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    /// Tasks that completed.
    pub complete: u32,
    /// Tasks that were cancelled.
    pub cancelled: u32,
    /// Tasks that an operator resolved.
    pub resolved: u32,
    /// Tasks that ended in error.
    pub error: u32,
    /// The log of commit groups.
    pub group_log: u32,
    /// The audit of commands.
    pub commands: u32,
    /// The ledger of results that were not simply accepted.
    pub received_results: u32,
    /// Idempotency keys of tasks that have left.
    pub idempotency_keys: u32,
}

impl Days {
    /// Whether anything ever leaves.
    pub fn keep_everything(&self) -> bool {
        *self == Days::default()
    }
}

/// What began, or ended, before these months may leave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ages {
    complete: Option<Month>,
    cancelled: Option<Month>,
    resolved: Option<Month>,
    error: Option<Month>,
    pub group_log: Option<Month>,
    pub commands: Option<Month>,
    pub received_results: Option<Month>,
    pub idempotency_keys: Option<Month>,
}

impl Ages {
    /// By the clock of the database.
    pub async fn of(session: &mut PgConnection, days: &Days) -> Result<Ages, Error> {
        let mut ages = Ages::default();
        for (days, month) in [
            (days.complete, &mut ages.complete),
            (days.cancelled, &mut ages.cancelled),
            (days.resolved, &mut ages.resolved),
            (days.error, &mut ages.error),
            (days.group_log, &mut ages.group_log),
            (days.commands, &mut ages.commands),
            (days.received_results, &mut ages.received_results),
            (days.idempotency_keys, &mut ages.idempotency_keys),
        ] {
            if days > 0 {
                let sql = "SELECT to_char((now() AT TIME ZONE 'UTC') - make_interval(days => $1), 'YYYY-MM')";
                let text: String = sqlx::query_scalar(sql)
                    .bind(i32::try_from(days).unwrap_or(i32::MAX))
                    .fetch_one(&mut *session)
                    .await?;
                // Before the beginning of our calendar nothing has ever ended.
                *month = Month::parse(&text);
            }
        }
        Ok(ages)
    }

    fn states(&self) -> [(&'static str, Option<Month>); 4] {
        [
            ("complete", self.complete),
            ("cancelled", self.cancelled),
            ("resolved_manually", self.resolved),
            ("error", self.error),
        ]
    }

    /// Tasks of this month and later ones stay, whatever their state.
    pub fn newest(&self) -> Option<Month> {
        self.states().into_iter().filter_map(|(_, month)| month).max()
    }

    /// The condition on `task` for leaving; never NULL. A task whose steps are with a worker stays.
    pub fn condition(&self, open: &[uuid::Uuid]) -> String {
        let arms: String = self
            .states()
            .into_iter()
            .filter_map(|(state, month)| month.map(|month| format!(" WHEN '{state}' THEN {}", month.start())))
            .collect();
        if arms.is_empty() {
            return "false".to_owned();
        }
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        format!(
            "((task.finished_at < CASE task.final_state{arms} END) IS TRUE
              AND task.task_id <> ALL ('{{{}}}'::uuid[]))",
            open.join(",")
        )
    }
}
