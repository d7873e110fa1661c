//! The engine alone. An event is what it is told: a task request, the outcome of a step, the closing report of a batch. Timed
//! are the events, the deadlines and the plan of each turn, and freeing what was decided; not making the events.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tasker_benches::broker::Broker;
use tasker_benches::shapes::{self, Parents};
use tasker_benches::snapshot;
use tasker_engine::Config;

/// Tasks from their submission to their end, and the events that this takes.
fn complete(parents: &Parents, tasks: usize) -> (Duration, u64) {
    let mut broker = Broker::new(Config::default());
    broker.register("order", parents);
    let (spent, events) = (broker.spent, broker.events);
    broker.submit("order", tasks);
    broker.finish();
    assert_eq!(broker.engine.held().tasks, 0, "every task has ended");
    (broker.spent - spent, broker.events - events)
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    for (name, parents, tasks) in [
        ("chain_4", shapes::chain(4), 5_000),
        ("diamond", shapes::diamond(), 5_000),
        ("fan_out_fan_in_100", shapes::fan(100), 200),
        ("wide_10000", shapes::wide(10_000), 1),
        ("deep_10000", shapes::chain(10_000), 1),
        ("random_10000", shapes::random(10_000), 1),
    ] {
        let (_, events) = complete(&parents, tasks);
        group.throughput(Throughput::Elements(events));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| complete(&parents, tasks).0).sum());
        });
    }
    for (name, parents, tasks) in
        [("recover_4x5000", shapes::chain(4), 5_000), ("recover_10000x1", shapes::random(10_000), 1)]
    {
        group.throughput(Throughput::Elements(parents.len() as u64 * u64::from(tasks)));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| recover(&parents, tasks)).sum());
        });
    }
    group.finish();
}

/// Rebuilding an engine from unfinished tasks.
fn recover(parents: &Parents, tasks: u32) -> Duration {
    let snapshot = snapshot::begun(parents, tasks);
    let start = Instant::now();
    let engine = snapshot::recover(snapshot);
    let spent = start.elapsed();
    assert_eq!(engine.held().tasks, u64::from(tasks), "every task is back");
    spent
}

criterion_group!(benches, engine);
criterion_main!(benches);
