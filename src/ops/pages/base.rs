//! The frame of every page: header with navigation, the broker's state, help for the keyboard.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::badge::{badge, icon, symbols};
use super::notice::Notice;

/// What the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// State counts, throughput, what waits.
    Overview,
    /// Tasks by filter.
    Tasks,
    /// Tasks that ended in error.
    DeadEnds,
    /// Who runs steps.
    Workers,
    /// What was handed out.
    Batches,
    /// Pausing and resuming.
    Namespaces,
    /// Definitions.
    Templates,
    /// What operators did.
    Audit,
}

impl Tab {
    /// Every tab in order.
    pub const ALL: [Tab; 8] = [
        Tab::Overview,
        Tab::Tasks,
        Tab::DeadEnds,
        Tab::Workers,
        Tab::Batches,
        Tab::Namespaces,
        Tab::Templates,
        Tab::Audit,
    ];

    /// Its name.
    pub const fn title(self) -> &'static str {
        match self {
            Tab::Overview => "Overview",
            Tab::Tasks => "Tasks",
            Tab::DeadEnds => "Dead ends",
            Tab::Workers => "Workers",
            Tab::Batches => "Batches",
            Tab::Namespaces => "Namespaces",
            Tab::Templates => "Templates",
            Tab::Audit => "Audit",
        }
    }

    /// Its address.
    pub const fn path(self) -> &'static str {
        match self {
            Tab::Overview => "/",
            Tab::Tasks => "/tasks",
            Tab::DeadEnds => "/dead-ends",
            Tab::Workers => "/workers",
            Tab::Batches => "/batches",
            Tab::Namespaces => "/namespaces",
            Tab::Templates => "/templates",
            Tab::Audit => "/acts",
        }
    }

    /// The key that leads to it, after `g`.
    const fn key(self) -> &'static str {
        match self {
            Tab::Overview => "o",
            Tab::Tasks => "t",
            Tab::DeadEnds => "d",
            Tab::Workers => "w",
            Tab::Batches => "b",
            Tab::Namespaces => "n",
            Tab::Templates => "m",
            Tab::Audit => "a",
        }
    }
}

/// What makes a page look again at itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live<'a> {
    /// Address of the stream that says that there is news.
    pub news: &'a str,
}

/// A page. Elements of `body` with an `id` and `data-refresh` are renewed when events tell of news.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// What it is about.
    pub title: &'a str,
    /// Where it belongs to.
    pub tab: Option<Tab>,
    /// State of the broker, by name.
    pub broker: &'a str,
    /// Who looks, and as what; empty without credentials.
    pub viewer: &'a str,
    /// What has just been done, or could not be.
    pub notice: Option<Notice<'a>>,
    /// Whether it follows events.
    pub live: Option<Live<'a>>,
    /// Its content.
    pub body: Markup,
}

impl Page<'_> {
    /// The whole document.
    pub fn render(&self) -> Markup {
        let live = self.live.map(|live| live.news);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="same-origin";
                    title { (self.title) " · Tasker" }
                    link rel="icon" href=(assets::ICON.path) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::STYLE.path);
                    script src=(assets::SCRIPT.path) {}
                }
                body data-live=[live] {
                    a class="skip" href="#main" { "Skip to content" }
                    (symbols())
                    (self.header())
                    main id="main" tabindex="-1" {
                        @if let Some(notice) = &self.notice { (notice.markup()) }
                        (self.body)
                    }
                    div id="toasts" class="toasts" role="status" aria-live="polite" {}
                    (help())
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header class="top" {
                a class="brand" href="/" { img src=(assets::ICON.path) alt="" width="22" height="22"; "Tasker" }
                nav aria-label="Main" {
                    @for tab in Tab::ALL {
                        a href=(tab.path()) aria-current=[(self.tab == Some(tab)).then_some("page")] data-go=(tab.key()) {
                            (tab.title())
                        }
                    }
                }
                div class="aside" {
                    span id="broker-state" data-refresh title="State of the broker" {
                        @if !self.broker.is_empty() { (badge(self.broker)) }
                    }
                    span id="link-state" class="link-state" hidden role="status" { "not live" }
                    @if !self.viewer.is_empty() {
                        span class="viewer" { (self.viewer) }
                        form method="post" action="/logout" { button id="log-out" class="quiet" { "Log out" } }
                    }
                    button id="theme" type="button" class="quiet" hidden title="Light or dark" aria-label="Light or dark" {
                        (icon("theme"))
                    }
                    button id="help-open" type="button" class="quiet" hidden title="Keys (?)" aria-label="Keys" { "?" }
                }
            }
        }
    }
}

fn help() -> Markup {
    let keys = [
        ("j k ↓ ↑", "next and previous row of a table"),
        ("Enter", "open"),
        ("x", "select a row"),
        ("/", "search"),
        ("r", "look again now"),
        ("Esc", "leave a field, close"),
        ("?", "this help"),
    ];
    html! {
        dialog id="help" aria-labelledby="help-title" {
            h2 id="help-title" { "Keys" }
            dl class="keys" {
                @for (key, what) in keys { dt { kbd { (key) } } dd { (what) } }
                @for tab in Tab::ALL { dt { kbd { "g " (tab.key()) } } dd { (tab.title()) } }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}
