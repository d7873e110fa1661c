//! What the broker counts, as text that Prometheus and whoever speaks OpenMetrics collect.

mod detailed;
mod format;
mod overview;
mod page;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::gateway::TrafficCounts;
use crate::server::metrics::{Counts, Figures, Observer};

pub use format::Format;
use page::Page;

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
    extent: Extent,
    observer: Observer,
    counts: Counts,
    traffic: TrafficCounts,
    /// Nothing when the event loop does not answer.
    figures: Option<Figures>,
}

/// Reads everything, and writes it down.
pub async fn scrape(observer: &Observer, extent: Extent, format: Format) -> Result<String, fmt::Error> {
    let figures = observer.figures().await;
    let (counts, traffic) = (observer.counts(), observer.traffic());
    write(Scrape { extent, observer: observer.clone(), counts, traffic, figures }, format)
}

fn write(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
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
        match self.extent {
            Extent::Bounded => {
                self.write_state(&mut page)?;
                self.write_live(&mut page)?;
                self.write_work(&mut page)?;
                self.write_commits(&mut page)?;
                self.write_traffic(&mut page)
            }
            Extent::Detailed => self.write_detailed(&mut page),
        }
    }
}
