//! Frames to messages and back: the messages of which there are many. Throughput is in steps or tasks of a message.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tasker_benches::{messages, protocol};

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, steps, message) in messages::samples() {
        let (header, body) = protocol::encode(&message);
        group.throughput(Throughput::Elements(steps));
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| protocol::encode(black_box(&message)));
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| protocol::decode(black_box(&header), black_box(&body)));
        });
    }
    let document = protocol::JsonText::new(messages::DOCUMENT);
    group.throughput(Throughput::Bytes(document.len() as u64));
    group.bench_function("check/json", |bencher| bencher.iter(|| black_box(&document).check()));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
