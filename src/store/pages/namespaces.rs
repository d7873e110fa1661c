//! Namespaces: what they have, and how much is to be done.

use sqlx::{PgPool, Row};

use super::count;
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its name.
    pub name: String,
    /// Names of templates.
    pub templates: u32,
    /// Versions of templates.
    pub versions: u32,
    /// Unfinished tasks that were counted.
    pub unfinished: u32,
}

/// All namespaces with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// By name.
    pub rows: Vec<NamespaceRow>,
    /// Whether there are more unfinished tasks: only [`UNFINISHED_COUNTED_MAX`] of each lane were counted.
    pub is_capped: bool,
}

/// Unfinished tasks of a lane that are counted, the oldest ones: some hundredths of a second.
pub const UNFINISHED_COUNTED_MAX: u32 = 50_000;

/// All namespaces with a template.
pub async fn namespaces(pool: &PgPool) -> Result<Namespaces, Error> {
    let mut sql = Sql::new(
        "WITH unfinished AS MATERIALIZED (
             SELECT open.template_id, count(*)::integer AS tasks,
                    max(open.place) AS most
             FROM tasker.lanes AS lane CROSS JOIN LATERAL (
                 SELECT part.template_id, row_number() OVER () AS place FROM (
                     SELECT task.template_id FROM tasker.tasks AS task
                     WHERE task.lane = lane.lane AND task.final_state IS NULL ORDER BY task.task_id LIMIT ",
    );
    sql.bind(i64::from(UNFINISHED_COUNTED_MAX) + 1).add(
        ") AS part) AS open GROUP BY open.template_id
         )
         SELECT template.namespace, count(DISTINCT template.name)::integer AS templates, count(*)::integer AS versions,
                coalesce(sum(unfinished.tasks), 0)::integer AS unfinished,
                coalesce(max(unfinished.most), 0)::bigint AS most
         FROM tasker.task_templates AS template
         LEFT JOIN unfinished ON unfinished.template_id = template.template_id
         GROUP BY template.namespace ORDER BY template.namespace",
    );
    let mut listing = Listing::begin(pool).await?;
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    let (mut found, mut is_capped) = (Vec::with_capacity(rows.len()), false);
    for row in &rows {
        is_capped |= row.try_get::<i64, _>("most")? > i64::from(UNFINISHED_COUNTED_MAX);
        found.push(NamespaceRow {
            name: row.try_get("namespace")?,
            templates: count(row, "templates")?,
            versions: count(row, "versions")?,
            unfinished: count(row, "unfinished")?,
        });
    }
    Ok(Namespaces { rows: found, is_capped })
}
