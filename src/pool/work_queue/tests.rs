//! The work queue: slots, turns, and which workers are woken.
//!
//! Knows the queue's state; the tasks are numbers.
//!
//! Rule: where it can be, a test is one thread that calls `try_pop` for each worker. Every wait of
//! the others has a deadline.

use super::*;
use crate::pool::parking::TASKS_PER_WORKER;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

/// What a test waits for that must come.
const LONG: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Job {
    flow: usize,
    slots: usize,
    is_quick: bool,
    number: u32,
}

impl Slotted for Job {
    fn flow(&self) -> usize {
        self.flow
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn is_quick(&self) -> bool {
        self.is_quick
    }
}

fn job(flow: usize, slots: usize, is_quick: bool, number: u32) -> Job {
    Job {
        flow,
        slots,
        is_quick,
        number,
    }
}

/// Pushes one slow task of one slot; false when there was no room.
fn push(queue: &WorkQueue<Job>, flow: usize, number: u32) -> bool {
    let has_room = free_slots(queue) > 0;
    let job = job(flow, 1, false, number);
    queue.push(Instant::now(), has_room.then_some(job));
    has_room
}

/// Pushes quick tasks of one slot each, each of another flow; says when to check.
fn push_quick(
    queue: &WorkQueue<Job>,
    now: Instant,
    numbers: impl IntoIterator<Item = u32>,
) -> Option<Instant> {
    let jobs = numbers
        .into_iter()
        .map(|number| job(number as usize, 1, true, number));
    queue.push(now, jobs).check_at
}

fn number(popped: Popped<Job>) -> Popped<u32> {
    Popped {
        task: popped.task.number,
        made_room: popped.made_room,
    }
}

fn numbers(jobs: Vec<Job>) -> Vec<u32> {
    jobs.into_iter().map(|job| job.number).collect()
}

/// What a worker gets that was never here before.
fn pop(queue: &Arc<WorkQueue<Job>>) -> Option<Popped<u32>> {
    Taker::new(queue).pop().map(number)
}

fn popped(task: u32, made_room: bool) -> Option<Popped<u32>> {
    Some(Popped { task, made_room })
}

fn try_pop(taker: &mut Taker<Job>) -> Option<u32> {
    taker.try_pop().map(|popped| popped.task.number)
}

fn free_slots(queue: &WorkQueue<Job>) -> usize {
    queue.push(Instant::now(), []).room
}

fn fair(capacity: usize) -> Arc<WorkQueue<Job>> {
    Arc::new(WorkQueue::new(capacity, QueueOrder::Fair))
}

/// So many workers that have found nothing and are parked.
fn parked(queue: &Arc<WorkQueue<Job>>, workers: usize) -> Vec<Taker<Job>> {
    let mut takers: Vec<_> = (0..workers).map(|_| Taker::new(queue)).collect();
    for taker in &mut takers {
        assert_eq!(try_pop(taker), None);
    }
    takers
}

/// A worker in a thread of its own; sends each task that it takes, and ends with the queue.
fn worker(queue: &Arc<WorkQueue<Job>>) -> mpsc::Receiver<u32> {
    let (took, tasks) = mpsc::channel();
    let mut taker = Taker::new(queue);
    thread::spawn(move || {
        while let Some(popped) = taker.pop() {
            took.send(popped.task.number).expect("the test listens");
        }
    });
    tasks
}

/// Workers that are parked, and workers that have been woken and have not come.
fn parked_and_woken(queue: &WorkQueue<Job>) -> (usize, usize) {
    let parking = queue.parking();
    (parking.parked(), parking.woken())
}

fn await_parked(queue: &WorkQueue<Job>, workers: usize) {
    let start = Instant::now();
    while parked_and_woken(queue) != (workers, 0) {
        assert!(start.elapsed() < LONG, "{workers} workers are parked");
        thread::yield_now();
    }
}

// Room.

#[test]
fn a_full_queue_takes_nothing() {
    let queue = fair(2);
    assert!(push(&queue, 0, 1) && push(&queue, 0, 2));
    assert_eq!(free_slots(&queue), 0);
    assert!(!push(&queue, 0, 3));
}

/// Slots taken now, at most ever, and at most since the interval began.
fn levels(queue: &WorkQueue<Job>) -> (u64, u64, u64) {
    let Gauge {
        now,
        peak,
        recent_peak,
    } = queue.stats().queued;
    (now, peak, recent_peak)
}

#[test]
fn a_task_takes_its_slots_and_gives_them_back_when_it_is_popped() {
    let queue = fair(5);
    assert_eq!(queue.push(Instant::now(), [job(0, 3, true, 1)]).room, 2);
    assert_eq!(queue.push(Instant::now(), [job(0, 2, false, 2)]).room, 0);
    assert_eq!(levels(&queue), (5, 5, 5));
    assert_eq!(pop(&queue), popped(1, true));
    assert_eq!(free_slots(&queue), 3);
    assert_eq!(pop(&queue), popped(2, false));
    assert_eq!(free_slots(&queue), 5);
    assert_eq!(levels(&queue), (0, 5, 5));
    queue.start_interval();
    assert_eq!(levels(&queue), (0, 5, 0));
}

#[test]
fn a_discarded_task_gives_its_slots_back() {
    let queue = fair(6);
    let jobs = [
        job(1, 3, true, 10),
        job(1, 2, true, 20),
        job(2, 1, true, 30),
    ];
    queue.push(Instant::now(), jobs);
    assert_eq!(numbers(queue.discard(1, |job| job.number == 10)), [10]);
    assert_eq!(free_slots(&queue), 3);
    assert_eq!(numbers(queue.discard(2, |_| true)), [30]);
    assert_eq!(free_slots(&queue), 4);
    assert_eq!(pop(&queue), popped(20, false));
    assert_eq!(free_slots(&queue), 6);
}

#[test]
#[should_panic(expected = "a task is no larger than the room")]
fn a_task_larger_than_the_room_is_a_bug_of_the_pusher() {
    let queue = fair(3);
    push(&queue, 0, 1);
    queue.push(Instant::now(), [job(0, 3, true, 2)]);
}

#[test]
fn the_pop_that_makes_awaited_room_says_so_once() {
    let queue = fair(2);
    push(&queue, 0, 1);
    assert_eq!(pop(&queue), popped(1, false));
    push(&queue, 0, 2);
    push(&queue, 0, 3);
    assert_eq!(pop(&queue), popped(2, true));
    assert_eq!(pop(&queue), popped(3, false));
}

#[test]
fn room_that_a_quick_task_makes_is_reported_too() {
    let queue = fair(2);
    push_quick(&queue, Instant::now(), [1, 2]);
    assert_eq!(pop(&queue), popped(1, true));
    assert_eq!(pop(&queue), popped(2, false));
}

// Order and end.

#[test]
fn fifo_keeps_arrival_order_where_fair_takes_turns() {
    for (order, expected) in [(QueueOrder::Fifo, [1, 2, 3]), (QueueOrder::Fair, [1, 3, 2])] {
        let queue = Arc::new(WorkQueue::new(3, order));
        for (flow, task) in [(7, 1), (7, 2), (8, 3)] {
            push(&queue, flow, task);
        }
        let got = expected.map(|_| pop(&queue).expect("three tasks").task);
        assert_eq!(got, expected, "{order:?}");
    }
}

#[test]
fn discard_takes_only_what_is_unwanted_in_either_order() {
    for order in [QueueOrder::Fifo, QueueOrder::Fair] {
        let queue = Arc::new(WorkQueue::new(8, order));
        for (flow, task) in [(1, 10), (2, 20), (1, 11)] {
            push(&queue, flow, task);
        }
        assert_eq!(
            numbers(queue.discard(1, |job| job.number / 10 == 1)),
            [10, 11]
        );
        assert_eq!(pop(&queue), popped(20, false));
    }
}

#[test]
fn close_lets_the_queue_drain_and_then_ends_every_worker() {
    let queue = fair(8);
    for task in 0..5 {
        push(&queue, 0, task);
    }
    queue.close();
    let drained: Vec<_> = std::iter::from_fn(|| pop(&queue))
        .map(|popped| popped.task)
        .collect();
    assert_eq!(drained, [0, 1, 2, 3, 4]);
    let idle = fair(8);
    let workers = [(); 3].map(|()| {
        let queue = Arc::clone(&idle);
        thread::spawn(move || pop(&queue))
    });
    idle.close();
    for worker in workers {
        assert_eq!(worker.join().expect("no panic"), None);
    }
}

#[test]
fn an_abandoned_queue_hands_out_nothing_more() {
    let queue = fair(8);
    push(&queue, 0, 1);
    push(&queue, 1, 2);
    assert_eq!(numbers(queue.abandon()), [1, 2]);
    assert_eq!(pop(&queue), None);
}

// Which workers are woken.

#[test]
fn no_worker_is_woken_beside_one_that_is_out_with_a_quick_task() {
    let (queue, now) = (fair(99), Instant::now());
    let mut taker = Taker::new(&queue);
    push_quick(&queue, now, [0]);
    assert_eq!(try_pop(&mut taker), Some(0));
    let _other = parked(&queue, 1);
    push_quick(&queue, now, 1..=TASKS_PER_WORKER as u32);
    assert_eq!(parked_and_woken(&queue), (1, 0));
    push_quick(&queue, now, [98]);
    assert_eq!(parked_and_woken(&queue), (0, 1), "more than it can do soon");
}

#[test]
fn a_woken_worker_is_counted_on_until_it_comes() {
    let queue = fair(99);
    let mut workers = parked(&queue, 3);
    for task in 0..TASKS_PER_WORKER as u32 {
        push(&queue, task as usize, task);
        assert_eq!(parked_and_woken(&queue), (2, 1), "only one");
    }
    push(&queue, 98, 98);
    assert_eq!(
        parked_and_woken(&queue),
        (1, 2),
        "more than one can do soon"
    );
    // Both tasks may take long: a worker that takes one leaves the rest to others.
    for left in [(1, 1), (0, 1)] {
        assert!(workers.pop().expect("three").try_pop().is_some());
        assert_eq!(parked_and_woken(&queue), left);
    }
}

#[test]
fn a_worker_that_is_out_with_a_slow_task_is_not_counted_on() {
    let queue = fair(8);
    let mut taker = Taker::new(&queue);
    push(&queue, 0, 1);
    assert_eq!(try_pop(&mut taker), Some(1));
    let _other = parked(&queue, 1);
    push_quick(&queue, Instant::now(), [2]);
    assert_eq!(parked_and_woken(&queue), (0, 1));
}

#[test]
fn a_worker_that_takes_a_slow_task_wakes_another_for_the_rest() {
    let (queue, now) = (fair(8), Instant::now());
    let mut taker = Taker::new(&queue);
    push_quick(&queue, now, [1]);
    assert_eq!(try_pop(&mut taker), Some(1));
    let _other = parked(&queue, 1);
    queue.push(now, [job(0, 1, false, 2), job(0, 1, true, 3)]);
    assert_eq!(parked_and_woken(&queue), (1, 0));
    assert_eq!(try_pop(&mut taker), Some(2));
    assert_eq!(parked_and_woken(&queue), (0, 1));
}

#[test]
fn a_worker_that_has_gone_is_not_counted_on() {
    let queue = fair(8);
    let mut taker = Taker::new(&queue);
    push_quick(&queue, Instant::now(), [1]);
    assert_eq!(try_pop(&mut taker), Some(1));
    drop(taker);
    drop(parked(&queue, 1));
    assert_eq!(queue.parking(), Parking::default());
}

#[test]
fn workers_are_woken_for_all_tasks_that_have_waited_for_too_long() {
    let (queue, now) = (fair(8), Instant::now());
    let mut liar = Taker::new(&queue);
    push_quick(&queue, now, [0]);
    assert_eq!(try_pop(&mut liar), Some(0));
    let _others = parked(&queue, 4);
    let check_at = push_quick(&queue, now, [1, 2, 3]);
    assert_eq!(check_at, Some(now + PATIENCE));
    assert_eq!(
        queue.check(now + PATIENCE - Duration::from_nanos(1)),
        check_at
    );
    assert_eq!(parked_and_woken(&queue), (4, 0), "not yet");
    assert_eq!(queue.check(now + PATIENCE), None);
    assert_eq!(parked_and_woken(&queue), (1, 3));
    // The next one could have its turn before one of these.
    assert_eq!(push_quick(&queue, now + PATIENCE, [4]), None);
    assert_eq!(parked_and_woken(&queue), (0, 4), "a push looks too");
}

#[test]
fn there_is_nothing_to_check_where_no_task_depends_on_a_worker_that_is_out() {
    let (queue, now) = (fair(8), Instant::now());
    assert_eq!(push_quick(&queue, now, [1]), None, "nobody is parked");
    assert_eq!(pop(&queue), popped(1, false));
    let mut workers = parked(&queue, 2);
    assert_eq!(push_quick(&queue, now, [1]), None, "one is woken for it");
    assert_eq!(push_quick(&queue, now, [2]), Some(now + PATIENCE));
    for worker in &mut workers {
        assert!(worker.try_pop().is_some());
    }
    assert_eq!(queue.check(now + PATIENCE), None, "all has been taken");
}

#[test]
fn the_time_begins_when_there_is_a_task_again() {
    let (queue, now) = (fair(8), Instant::now());
    let (mut taker, later) = (Taker::new(&queue), now + PATIENCE);
    push_quick(&queue, now, [0]);
    assert_eq!(try_pop(&mut taker), Some(0));
    let _other = parked(&queue, 1);
    push_quick(&queue, now, [1]);
    assert_eq!(try_pop(&mut taker), Some(1));
    assert_eq!(push_quick(&queue, later, [2]), Some(later + PATIENCE));
    assert_eq!(parked_and_woken(&queue), (1, 0));
}

#[test]
fn a_spurious_wake_up_changes_nothing() {
    let queue = fair(8);
    let tasks = worker(&queue);
    for _ in 0..100 {
        await_parked(&queue, 1);
        queue.parked.notify_all();
        thread::yield_now();
    }
    await_parked(&queue, 1);
    push(&queue, 0, 1);
    assert_eq!(tasks.recv_timeout(LONG), Ok(1));
    await_parked(&queue, 1);
    queue.close();
    assert_eq!(tasks.iter().count(), 0);
}

/// Tasks that are called quick and take a while, as many as the queue holds: everybody works. The
/// slowest machine gets ten times what it takes.
#[test]
fn beside_a_full_queue_all_workers_work() {
    const WORKERS: usize = 64;
    let queue = fair(256);
    let (took, takes) = mpsc::channel();
    for number in 0..WORKERS {
        let (mut taker, took) = (Taker::new(&queue), took.clone());
        thread::spawn(move || {
            while let Some(popped) = taker.pop() {
                thread::sleep(Duration::from_micros(
                    25 + u64::from(popped.task.number) % 76,
                ));
                // The test ends before the last tasks do.
                took.send(number).ok();
            }
        });
    }
    let (start, mut used, mut next) = (Instant::now(), BTreeSet::new(), 0);
    while used.len() < WORKERS {
        let jobs = (0..free_slots(&queue)).map(|_| {
            next += 1;
            job(next as usize % 1000, 1, true, next)
        });
        queue.push(Instant::now(), jobs);
        used.insert(takes.recv_timeout(LONG).expect("somebody works"));
        used.extend(takes.try_iter());
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(1), "{} work", used.len());
    }
    println!("all {WORKERS} in {:?}", start.elapsed());
    queue.close();
}

#[test]
fn a_push_of_many_tasks_sets_as_many_workers_to_work() {
    let queue = fair(8);
    let (started, starts) = mpsc::channel();
    let gate = Arc::new(std::sync::Barrier::new(5));
    for _ in 0..4 {
        let (mut taker, started, gate) = (Taker::new(&queue), started.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            while let Some(popped) = taker.pop() {
                started.send(popped.task).expect("the test listens");
                gate.wait();
            }
        });
    }
    let jobs = (0..4).map(|task| job(task, 1, false, task as u32));
    queue.push(Instant::now(), jobs);
    // All four are in hands at once, or the barrier would never open.
    for _ in 0..4 {
        starts.recv_timeout(LONG).expect("each task wakes a worker");
    }
    gate.wait();
    queue.close();
}

#[test]
fn many_workers_get_every_task_exactly_once() {
    fn is_quick(task: u32) -> bool {
        !task.is_multiple_of(5)
    }
    let queue = fair(16);
    let (got, tasks) = mpsc::channel();
    let (room, rooms) = mpsc::channel();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (mut taker, got, room) = (Taker::new(&queue), got.clone(), room.clone());
            thread::spawn(move || {
                while let Some(popped) = taker.pop() {
                    if popped.made_room {
                        room.send(()).expect("the pusher listens");
                    }
                    got.send(popped.task).expect("the test listens");
                }
            })
        })
        .collect();
    const TASKS: u32 = 20_000;
    let mut source = (0..TASKS).peekable();
    let mut room = free_slots(&queue);
    while source.peek().is_some() {
        while room > 0 && source.peek().is_some() {
            let mut jobs = Vec::new();
            while room > 0
                && let Some(task) = source.next()
            {
                let slots = room.min(1 + task as usize % 3);
                jobs.push(job(task as usize % 7, slots, is_quick(task), task));
                room -= slots;
            }
            room = queue.push(Instant::now(), jobs).room;
        }
        if source.peek().is_some() {
            // The pusher sleeps until it is told: a lost report ends the test here.
            rooms.recv_timeout(LONG).expect("room is reported");
            room = free_slots(&queue);
        }
    }
    queue.close();
    for worker in workers {
        worker.join().expect("no panic");
    }
    drop(got);
    let all: Vec<u32> = tasks.iter().map(|job| job.number).collect();
    assert_eq!(all.len(), TASKS as usize, "nothing twice");
    assert_eq!(
        all.into_iter().collect::<BTreeSet<_>>().len(),
        TASKS as usize,
        "nothing lost"
    );
}
