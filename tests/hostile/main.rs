//! Hostile and broken peers on the port of a real broker process, beside an honest worker and client that must not notice.
//! Each test is one kind of attack; it measures the broker's memory and reads in the health report what was refused.

mod handshakes;
mod messages;
mod readers;
mod siege;
mod support;
mod zmtp;

#[path = "../peers/mod.rs"]
mod peers;
