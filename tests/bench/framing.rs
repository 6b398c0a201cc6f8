//! What the loop does with bytes: short lines, long lines, and lines that come in pieces.
//!
//! A good figure: short lines above 100 MB/s, for there each line costs more than its bytes; lines
//! of 60,000 bytes above 3 GB/s whole, and above 1 GB/s in pieces, whose buffer has to grow.

#[path = "path.rs"]
mod path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use path::Path;
use std::time::Instant;

const LONG_BYTES: usize = 60_000;
const PIECE_BYTES: usize = 1448;

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");

    let short = b"ECHO hello\n".repeat(5000);
    let mut path = Path::new(10_000, 64);
    group.throughput(Throughput::Bytes(short.len() as u64));
    group.bench_function("short lines", |bencher| {
        bencher.iter(|| path.exchange(&short));
    });

    let mut long = vec![b'x'; LONG_BYTES];
    long.push(b'\n');
    group.throughput(Throughput::Bytes(long.len() as u64));
    group.bench_function("long lines", |bencher| {
        bencher.iter(|| path.exchange(&long));
    });

    group.bench_function("long lines in pieces", |bencher| {
        bencher.iter(|| {
            let (last, pieces) = split(&long);
            for piece in pieces {
                path.engine.received(path.id, piece, Instant::now());
            }
            path.exchange(last)
        });
    });
    group.finish();
}

/// The pieces of a line as TCP segments would bring it, the last one apart.
fn split(line: &[u8]) -> (&[u8], impl Iterator<Item = &[u8]>) {
    let last = line.len() / PIECE_BYTES * PIECE_BYTES;
    (&line[last..], line[..last].chunks(PIECE_BYTES))
}

criterion_group!(benches, framing);
criterion_main!(benches);
