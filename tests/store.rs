//! The store against a real Postgres: what is written, who may write, and what comes back.

#![allow(clippy::unwrap_used)]

#[path = "store/claims.rs"]
mod claims;
#[path = "store/dossier.rs"]
mod dossier;
#[path = "store/fence.rs"]
mod fence;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/history.rs"]
mod history;
#[path = "store/inbox.rs"]
mod inbox;
#[path = "stories/invariants.rs"]
mod invariants;
#[path = "store/pages.rs"]
mod pages;
#[path = "store/recovery.rs"]
mod recovery;
#[path = "store/retention.rs"]
mod retention;
#[path = "store/saves.rs"]
mod saves;
#[path = "store/search.rs"]
mod search;
#[path = "store/support.rs"]
mod support;
#[path = "store/views.rs"]
mod views;
