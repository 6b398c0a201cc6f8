//! What the loop does for a request, but for system calls: frame it, give it a slot, take its
//! answer, put it out.
//!
//! A good figure: about half a microsecond for a request that comes alone, under 100 ns each in a
//! pipeline of 128 quick ones, and no more than five times that where each is a task of its own.

#[path = "path.rs"]
mod path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use path::Path;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for (name, max_run) in [("runs", 64), ("single", 1)] {
        for requests in [1, 128] {
            let mut path = Path::new(128, max_run);
            let chunk = b"ECHO hello\n".repeat(requests);
            assert_eq!(path.exchange(&chunk), requests);
            group.throughput(Throughput::Elements(requests as u64));
            group.bench_function(BenchmarkId::new(name, requests), |bencher| {
                bencher.iter(|| path.exchange(&chunk));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
