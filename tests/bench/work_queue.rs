//! What a task costs on its way through the work queue: one producer, 1 to 8 workers, both orders.
//!
//! A good figure: well under a microsecond a task, and no more with 8 workers than with 1 times
//! two; fair no more than a tenth above fifo. More means that the lock is fought over or that
//! workers are woken for nothing.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reactor_pool::config::QueueOrder;
use reactor_pool::pool::{Slotted, Taker, WorkQueue};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

const TASKS: u64 = 20_000;
const FLOWS: u64 = 50;
const CAPACITY: usize = 256;

/// One slow request of one of the flows.
struct Job(u64);

impl Slotted for Job {
    fn flow(&self) -> usize {
        (self.0 % FLOWS) as usize
    }

    fn slots(&self) -> usize {
        1
    }

    fn is_quick(&self) -> bool {
        false
    }
}

/// Passes all tasks through the queue, a queue's worth at a time, as the loop does.
fn pass(queue: &WorkQueue<Job>, done: &AtomicU64) {
    let target = done.load(Ordering::Acquire) + TASKS;
    let (mut next, mut room) = (0, queue.push(Instant::now(), []).room as u64);
    while next < TASKS {
        let end = TASKS.min(next + room);
        room = queue.push(Instant::now(), (next..end).map(Job)).room as u64;
        next = end;
        thread::yield_now();
    }
    while done.load(Ordering::Acquire) < target {
        thread::yield_now();
    }
}

fn work_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("work_queue");
    group.throughput(Throughput::Elements(TASKS));
    for (name, order) in [("fair", QueueOrder::Fair), ("fifo", QueueOrder::Fifo)] {
        for workers in [1, 2, 4, 8] {
            let queue: Arc<WorkQueue<Job>> = Arc::new(WorkQueue::new(CAPACITY, order));
            let done = Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (0..workers)
                .map(|_| {
                    let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
                    thread::spawn(move || {
                        let mut taker = Taker::new(&queue);
                        while let Some(popped) = taker.pop() {
                            black_box(popped.task.0);
                            done.fetch_add(1, Ordering::Release);
                        }
                    })
                })
                .collect();
            group.bench_function(BenchmarkId::new(name, workers), |bencher| {
                bencher.iter(|| pass(&queue, &done));
            });
            queue.close();
            for thread in threads {
                thread.join().expect("a worker that only counts");
            }
        }
    }
    group.finish();
}

criterion_group!(benches, work_queue);
criterion_main!(benches);
