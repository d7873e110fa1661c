//! Lists a page at a time: how many rows, and from where on.

use std::str::FromStr;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::ops::problem::Problem;
use crate::store::PAGE_TASKS_MAX;

/// Rows of a page when nothing is said.
const ROWS: u32 = 50;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Where to go on: the `next` of the page before.
    after: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

impl Page {
    pub fn new(after: Option<String>, limit: Option<u32>) -> Page {
        Page { after, limit }
    }

    pub fn rows(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(ROWS) {
            limit @ 1..=PAGE_TASKS_MAX => Ok(limit),
            limit => {
                let problem = Problem::invalid("limit", format!("is {limit}, not from 1 to {PAGE_TASKS_MAX}"));
                Err(problem.limited_to(PAGE_TASKS_MAX.into()))
            }
        }
    }

    pub fn after<C: FromStr>(&self) -> Result<Option<C>, Problem> {
        let cursor = self.after.as_deref().map(str::parse).transpose();
        cursor.map_err(|_| Problem::invalid("after", "is no place in this list; take the `next` of a page"))
    }
}
