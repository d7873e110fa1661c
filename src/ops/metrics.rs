//! What the broker counts, as text that Prometheus and whoever speaks OpenMetrics collect.

mod detailed;
mod format;
mod overview;
mod page;
mod routes;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::gateway::TrafficCounts;
use crate::server::Stage;
use crate::server::metrics::{Counts, Figures, Observer};

pub use format::Format;
use page::Page;
pub(super) use routes::routes;

/// What every name begins with.
const PREFIX: &str = "tasker";

/// What a scrape tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Series whose number is bounded, whatever the broker is used for.
    Bounded,
    /// Series by template and by worker.
    Detailed,
}

/// Everything that a scrape may tell, at one moment.
#[derive(Debug)]
struct Scrape {
    stage: Stage,
    /// Nothing of a broker that has not been ready yet.
    inside: Option<Inside>,
}

#[derive(Debug)]
struct Inside {
    extent: Extent,
    observer: Observer,
    counts: Counts,
    traffic: TrafficCounts,
    /// Nothing when the event loop does not answer.
    figures: Option<Figures>,
}

/// Reads everything, and writes it down. Without an observer there is only to tell how far the broker is.
pub async fn scrape(
    stage: Stage,
    observer: Option<&Observer>,
    extent: Extent,
    format: Format,
) -> Result<String, fmt::Error> {
    let inside = match observer {
        Some(observer) => {
            let figures = observer.figures().await;
            let (counts, traffic) = (observer.counts(), observer.traffic());
            Some(Inside { extent, observer: observer.clone(), counts, traffic, figures })
        }
        None => None,
    };
    let scrape = Scrape { stage, inside };
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(scrape));
    let mut written = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page::of(encoder);
        let stages =
            Stage::ALL.map(|stage| (vec![("stage", stage.as_str())], f64::from(u8::from(stage == self.stage))));
        page.gauges("stage", None, "How far the broker is: 1 for the stage that it is in.", stages)?;
        let Some(inside) = &self.inside else { return Ok(()) };
        match inside.extent {
            Extent::Bounded => {
                inside.write_state(&mut page)?;
                inside.write_live(&mut page)?;
                inside.write_work(&mut page)?;
                inside.write_commits(&mut page)?;
                inside.write_traffic(&mut page)?;
                inside.write_spans(&mut page)
            }
            Extent::Detailed => inside.write_detailed(&mut page),
        }
    }
}
