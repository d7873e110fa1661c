//! What a step that waits costs in memory beside its payload. Counted by the allocator, not measured from outside, so that
//! it is the same in every run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tasker_benches::broker::Broker;
use tasker_benches::shapes::{self, Parents};
use tasker_engine::Config;

/// What a waiting step may cost in bytes, its share of its task included.
const STEP_BYTES_MAX: usize = 600;

/// What an engine with a million waiting steps may take in bytes, payload included.
const MILLION_BYTES_MAX: usize = 1 << 30;

/// Counts the bytes that are asked for and not given back.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// What glibc's allocator makes of a size: 8 bytes of its own, rounded up to 16, at least 32.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: the system's allocator does all the work; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(taken(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(taken(layout), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that an engine takes with as many waiting tasks of a shape, and how many of them are their contexts.
fn held(parents: &Parents, tasks: usize) -> (usize, usize) {
    let mut broker = Broker::deserted(Config::default());
    broker.register("order", parents);
    let before = HELD.load(Ordering::Relaxed);
    let mut contexts = 0;
    for number in 0..tasks {
        // Each its own, as they come from the wire.
        let context = format!(r#"{{"order_id":{number},"customer":"c-17"}}"#);
        contexts += context.len();
        broker.submit_with("order", 1, Bytes::from(context));
        broker.turn();
    }
    assert_eq!(broker.engine.held().steps_unfinished, (tasks * parents.len()) as u64, "all of them wait");
    (HELD.load(Ordering::Relaxed) - before, contexts)
}

/// One test, because the counter is one for all threads.
#[test]
fn a_million_waiting_steps_fit_into_a_gibibyte() {
    for (name, parents, tasks) in [
        ("4-step chains", shapes::chain(4), 250_000),
        ("diamonds", shapes::diamond(), 250_000),
        ("fans of 100", shapes::fan(100), 10_000),
        ("random graphs of 10,000", shapes::random(10_000), 100),
    ] {
        let steps = tasks * parents.len();
        let (bytes, contexts) = held(&parents, tasks);
        let each = (bytes - contexts) / steps;
        println!("{name}: {each} bytes a waiting step beside its payload, {} MiB for {steps}", bytes >> 20);
        assert!(each <= STEP_BYTES_MAX, "{name}: {each} bytes a waiting step, at most {STEP_BYTES_MAX}");
        assert!(bytes <= MILLION_BYTES_MAX, "{name}: {bytes} bytes for {steps} steps");
    }
}
