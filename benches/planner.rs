//! Graphs: building one, and what follows from one result in graphs of different sizes, which must cost the same.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tasker_benches::broker::Broker;
use tasker_benches::shapes;
use tasker_engine::{Config, Dag};

/// Steps of a graph.
const SIZES: [u32; 3] = [10, 1_000, 10_000];

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner/build");
    for size in SIZES {
        let parents = shapes::random(size);
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(|| parents.clone(), |parents| Dag::new(black_box(parents)), BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// One result of a chain makes the next step ready, which goes out in a batch of its own.
fn readiness(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner/readiness");
    for size in SIZES {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|results| {
                let mut broker = Broker::new(Config::default());
                broker.register("order", &shapes::chain(size));
                let mut spent = Duration::ZERO;
                for result in 0..results {
                    if result % u64::from(size) == 0 {
                        broker.finish();
                        broker.submit("order", 1);
                        broker.turn();
                        spent += broker.spent;
                        broker.spent = Duration::ZERO;
                    }
                    broker.turn();
                }
                spent + broker.spent
            });
        });
    }
    group.finish();
}

/// What a step costs, from submission to end, of one task at a time: over its size it must stay flat.
fn curve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner/curve");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for size in [4, 100, 1_000, 10_000] {
        for (name, parents) in
            [("wide", shapes::wide(size)), ("deep", shapes::chain(size)), ("random", shapes::random(size))]
        {
            group.throughput(Throughput::Elements(size.into()));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_custom(|tasks| {
                    let mut broker = Broker::new(Config::default());
                    broker.register("order", &parents);
                    broker.spent = Duration::ZERO;
                    for _ in 0..tasks {
                        broker.submit("order", 1);
                        broker.finish();
                    }
                    broker.spent
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, build, readiness, curve);
criterion_main!(benches);
