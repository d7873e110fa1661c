//! Traces: a real broker that was built with the feature `otel`, real Ruby workers, and a collector that decodes what it gets.
//! What the Ruby side records comes from the stand-in for OpenTelemetry that the gem's own specs have.

mod collector;
mod traces;
mod troubles;

#[path = "../stories/support/mod.rs"]
mod support;
