//! The work queue in threads: slots, turns, and who wakes whom.

use super::*;
use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::thread;

const PATIENCE: Duration = Duration::from_secs(10);

/// Pushes one slow task of one slot; false when there was no room.
fn push(queue: &WorkQueue<u32>, flow: usize, task: u32) -> bool {
    let mut pushed = false;
    queue.push_while_room(|room| {
        if room.slots() > 0 {
            room.push(flow, 1, false, task);
            pushed = true;
        }
    });
    pushed
}

/// Pushes quick tasks of one slot each, each of another flow.
fn push_quick(queue: &WorkQueue<u32>, tasks: impl IntoIterator<Item = u32>) {
    queue.push_while_room(|room| {
        tasks
            .into_iter()
            .for_each(|task| room.push(task as usize, 1, true, task))
    });
}

/// What a worker gets that was never here before.
fn pop(queue: &WorkQueue<u32>) -> Option<Popped<u32>> {
    queue.pop(&mut Taker::default())
}

fn try_pop(queue: &WorkQueue<u32>, taker: &mut Taker) -> Vec<u32> {
    queue
        .try_pop(taker)
        .map_or(Vec::new(), |popped| popped.tasks)
}

fn popped(task: u32, made_room: bool) -> Option<Popped<u32>> {
    let tasks = vec![task];
    Some(Popped { tasks, made_room })
}

fn free_slots(queue: &WorkQueue<u32>) -> usize {
    let mut slots = 0;
    queue.push_while_room(|room| slots = room.slots());
    slots
}

fn fair(capacity: usize) -> WorkQueue<u32> {
    WorkQueue::new(capacity, QueueOrder::Fair)
}

/// A worker in a thread of its own; sends each task that it takes, and ends with the queue.
fn worker(queue: &Arc<WorkQueue<u32>>) -> mpsc::Receiver<u32> {
    let (took, tasks) = mpsc::channel();
    let queue = Arc::clone(queue);
    thread::spawn(move || {
        let mut taker = Taker::default();
        while let Some(popped) = queue.pop(&mut taker) {
            for task in popped.tasks {
                took.send(task).expect("the test listens");
            }
        }
    });
    tasks
}

fn await_idle(queue: &WorkQueue<u32>, idle: usize) {
    let start = Instant::now();
    while queue.lock().asleep.len() != idle {
        assert!(start.elapsed() < PATIENCE, "{idle} workers wait for a task");
        thread::yield_now();
    }
}

/// Workers that sleep and have not been woken, and those that were woken and have not come yet or are out with a quick task.
fn idle_and_coming(queue: &WorkQueue<u32>) -> (usize, usize) {
    let state = queue.lock();
    (state.asleep.len(), state.coming)
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
fn levels(queue: &WorkQueue<u32>) -> (u64, u64, u64) {
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
    queue.push_while_room(|room| {
        room.push(0, 3, true, 1);
        assert_eq!(room.slots(), 2);
        room.push(0, 2, false, 2);
        assert_eq!(room.slots(), 0);
    });
    assert_eq!(levels(&queue), (5, 5, 5));
    assert_eq!(pop(&queue), popped(1, false));
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
    queue.push_while_room(|room| {
        room.push(1, 3, true, 10);
        room.push(1, 2, true, 20);
        room.push(2, 1, true, 30);
    });
    assert_eq!(queue.discard(1, |task| *task == 10), [10]);
    assert_eq!(free_slots(&queue), 3);
    assert_eq!(queue.discard(2, |_| true), [30]);
    assert_eq!(free_slots(&queue), 4);
    assert_eq!(pop(&queue), popped(20, false));
    assert_eq!(free_slots(&queue), 6);
}

#[test]
#[should_panic(expected = "a task is no larger than the room")]
fn a_task_larger_than_the_room_is_a_bug_of_the_pusher() {
    let queue = fair(3);
    push(&queue, 0, 1);
    queue.push_while_room(|room| room.push(0, 3, true, 2));
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
fn quick_tasks_leave_the_report_of_room_to_their_results_or_a_slow_one() {
    let queue = fair(3);
    queue.push_while_room(|room| {
        for (task, is_quick) in [(1, true), (2, false), (3, false)] {
            room.push(0, 1, is_quick, task);
        }
    });
    assert_eq!(pop(&queue), popped(1, false));
    assert_eq!(pop(&queue), popped(2, true));
    assert_eq!(pop(&queue), popped(3, false));
}

// Order and end.

#[test]
fn fifo_keeps_arrival_order_where_fair_takes_turns() {
    for (order, expected) in [(QueueOrder::Fifo, [1, 2, 3]), (QueueOrder::Fair, [1, 3, 2])] {
        let queue = WorkQueue::new(3, order);
        for (flow, task) in [(7, 1), (7, 2), (8, 3)] {
            push(&queue, flow, task);
        }
        let got = expected.map(|_| pop(&queue).expect("three tasks").tasks[0]);
        assert_eq!(got, expected, "{order:?}");
    }
}

#[test]
fn discard_takes_only_what_is_unwanted_in_either_order() {
    for order in [QueueOrder::Fifo, QueueOrder::Fair] {
        let queue = WorkQueue::new(8, order);
        for (flow, task) in [(1, 10), (2, 20), (1, 11)] {
            push(&queue, flow, task);
        }
        assert_eq!(queue.discard(1, |task| task / 10 == 1), [10, 11]);
        assert_eq!(pop(&queue), popped(20, false));
    }
}

#[test]
fn close_lets_the_queue_drain_and_then_ends_every_worker() {
    let queue = Arc::new(fair(8));
    for task in 0..5 {
        push(&queue, 0, task);
    }
    queue.close();
    let drained: Vec<_> = std::iter::from_fn(|| pop(&queue))
        .flat_map(|popped| popped.tasks)
        .collect();
    assert_eq!(drained, [0, 1, 2, 3, 4]);
    let idle = Arc::new(fair(8));
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
    assert_eq!(queue.abandon(), [1, 2]);
    assert_eq!(pop(&queue), None);
}

// Who is woken. The test is one worker, `worker` starts the other.

#[test]
fn a_worker_out_with_a_quick_task_is_not_doubled_by_waking_another() {
    let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
    push_quick(&queue, [1]);
    assert_eq!(try_pop(&queue, &mut taker), [1]);
    let _other = worker(&queue);
    await_idle(&queue, 1);
    push(&queue, 0, 2);
    assert_eq!(idle_and_coming(&queue), (1, 1), "only this one");
    assert_eq!(try_pop(&queue, &mut taker), [2]);
    queue.close();
}

#[test]
fn a_worker_that_is_woken_is_not_doubled_by_waking_another() {
    let queue = fair(8);
    // Two workers wait, and the one that is woken takes its time.
    queue.lock().asleep = vec![Arc::default(), Arc::default()];
    for task in 1..4 {
        push(&queue, 0, task);
        assert_eq!(idle_and_coming(&queue), (1, 1), "only one");
    }
    // Another one takes a task in between: what it leaves is for the one that was woken.
    assert_eq!(pop(&queue), popped(1, false));
    assert_eq!(idle_and_coming(&queue), (1, 1));
}

#[test]
fn who_fell_asleep_last_is_woken_first() {
    let queue = Arc::new(fair(8));
    let first = worker(&queue);
    await_idle(&queue, 1);
    let second = worker(&queue);
    await_idle(&queue, 2);
    for task in 0..3 {
        push_quick(&queue, [task]);
        assert_eq!(second.recv_timeout(PATIENCE), Ok(task));
        await_idle(&queue, 2);
    }
    queue.close();
    assert_eq!(first.iter().count(), 0);
}

#[test]
fn a_sleep_that_ends_for_no_reason_changes_nothing() {
    let (queue, bell) = (Arc::new(fair(8)), Arc::default());
    let mut taker = Taker {
        bell: Arc::clone(&bell),
        ..Taker::default()
    };
    let sleeper = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.pop(&mut taker))
    };
    for _ in 0..100 {
        await_idle(&queue, 1);
        bell.notify_one();
        thread::yield_now();
    }
    await_idle(&queue, 1);
    assert_eq!(idle_and_coming(&queue), (1, 0));
    push(&queue, 0, 1);
    assert_eq!(sleeper.join().expect("no panic"), popped(1, false));
    assert_eq!(idle_and_coming(&queue), (0, 0));
}

#[test]
fn after_a_streak_of_quick_tasks_another_worker_is_woken_for_the_rest() {
    let (queue, mut taker) = (Arc::new(fair(64)), Taker::default());
    push_quick(&queue, [0]);
    assert_eq!(try_pop(&queue, &mut taker), [0]);
    let other = worker(&queue);
    await_idle(&queue, 1);
    push_quick(&queue, 1..4 * QUICK_BATCH as u32);
    let mut next = 1;
    for nearly in [QUICK_STREAK / 2, QUICK_STREAK / 2 - Duration::from_nanos(1)] {
        taker.worked_for(nearly);
        next += try_pop(&queue, &mut taker).len() as u32;
        assert_eq!(idle_and_coming(&queue), (1, 1), "only this one");
    }
    taker.worked_for(Duration::from_nanos(1));
    next += try_pop(&queue, &mut taker).len() as u32;
    for task in next..4 * QUICK_BATCH as u32 {
        assert_eq!(other.recv_timeout(PATIENCE), Ok(task));
    }
    queue.close();
}

#[test]
fn a_streak_ends_when_another_worker_is_let_in() {
    let (queue, mut taker) = (fair(64), Taker::default());
    push_quick(&queue, 0..4 * QUICK_BATCH as u32);
    try_pop(&queue, &mut taker);
    taker.worked_for(QUICK_STREAK);
    try_pop(&queue, &mut taker);
    assert_eq!(idle_and_coming(&queue), (0, 0));
    try_pop(&queue, &mut taker);
    assert_eq!(idle_and_coming(&queue), (0, 1));
}

#[test]
fn a_streak_ends_when_its_worker_waits() {
    let (queue, mut taker) = (Arc::new(fair(64)), Taker::default());
    push_quick(&queue, [0]);
    assert_eq!(try_pop(&queue, &mut taker), [0]);
    taker.worked_for(QUICK_STREAK);
    let pusher = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            await_idle(&queue, 1);
            push_quick(&queue, [1]);
        })
    };
    assert_eq!(queue.pop(&mut taker), popped(1, false));
    assert_eq!(idle_and_coming(&queue), (0, 1));
    pusher.join().expect("no panic");
}

#[test]
fn slow_work_is_no_part_of_a_streak() {
    let (queue, mut taker) = (fair(8), Taker::default());
    push(&queue, 0, 1);
    assert_eq!(try_pop(&queue, &mut taker), [1]);
    taker.worked_for(QUICK_STREAK);
    push_quick(&queue, [2]);
    assert_eq!(try_pop(&queue, &mut taker), [2]);
    assert_eq!(idle_and_coming(&queue), (0, 1));
}

// What leaves together.

#[test]
fn one_flow_has_one_task_in_a_batch() {
    for order in [QueueOrder::Fair, QueueOrder::Fifo] {
        let (queue, mut taker) = (WorkQueue::new(8, order), Taker::default());
        queue.push_while_room(|room| {
            for (flow, task) in [(5, 1), (6, 2), (6, 3), (6, 4)] {
                room.push(flow, 1, true, task);
            }
        });
        for expected in [&[1, 2][..], &[3], &[4]] {
            assert_eq!(try_pop(&queue, &mut taker), expected, "{order:?}");
        }
    }
}

#[test]
fn quick_tasks_leave_together_up_to_a_batch() {
    let (queue, mut taker) = (fair(64), Taker::default());
    push_quick(&queue, 0..QUICK_BATCH as u32 + 2);
    let first: Vec<u32> = (0..QUICK_BATCH as u32).collect();
    assert_eq!(try_pop(&queue, &mut taker), first);
    assert_eq!(free_slots(&queue), 62);
    assert_eq!(try_pop(&queue, &mut taker), [8, 9]);
}

#[test]
fn a_slow_task_leaves_alone_and_in_its_turn() {
    let (queue, mut taker) = (fair(8), Taker::default());
    queue.push_while_room(|room| {
        for (flow, is_quick, task) in [(0, true, 1), (1, false, 2), (2, true, 3), (3, true, 4)] {
            room.push(flow, 1, is_quick, task);
        }
    });
    for expected in [&[1][..], &[2], &[3, 4]] {
        assert_eq!(try_pop(&queue, &mut taker), expected);
    }
}

#[test]
fn a_batch_takes_no_more_slots_than_one_long_run() {
    const HALF: usize = QUICK_BATCH_SLOTS / 2;
    let (queue, mut taker) = (fair(8 * HALF), Taker::default());
    queue.push_while_room(|room| {
        for (task, slots) in [HALF, HALF, 1, HALF, 3 * HALF, 1].into_iter().enumerate() {
            room.push(task, slots, true, task as u32);
        }
    });
    for expected in [&[0, 1][..], &[2, 3], &[4], &[5]] {
        assert_eq!(try_pop(&queue, &mut taker), expected);
    }
}

#[test]
fn who_takes_a_slow_task_leaves_the_rest_to_another_at_once() {
    let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
    push_quick(&queue, [1]);
    assert_eq!(try_pop(&queue, &mut taker), [1]);
    let other = worker(&queue);
    await_idle(&queue, 1);
    queue.push_while_room(|room| {
        room.push(0, 1, false, 2);
        room.push(0, 1, true, 3);
    });
    assert_eq!(try_pop(&queue, &mut taker), [2]);
    assert_eq!(other.recv_timeout(PATIENCE), Ok(3));
    queue.close();
}

#[test]
fn who_is_out_with_a_slow_task_is_not_waited_for() {
    let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
    push(&queue, 0, 1);
    assert_eq!(try_pop(&queue, &mut taker), [1]);
    let other = worker(&queue);
    await_idle(&queue, 1);
    push_quick(&queue, [2]);
    assert_eq!(other.recv_timeout(PATIENCE), Ok(2));
    queue.close();
}

#[test]
fn who_came_back_and_found_nothing_is_not_waited_for() {
    let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
    push_quick(&queue, [1]);
    assert_eq!(try_pop(&queue, &mut taker), [1]);
    assert!(try_pop(&queue, &mut taker).is_empty());
    let other = worker(&queue);
    await_idle(&queue, 1);
    push_quick(&queue, [2]);
    assert_eq!(other.recv_timeout(PATIENCE), Ok(2));
    queue.close();
}

#[test]
fn a_push_of_many_tasks_sets_as_many_workers_to_work() {
    let queue = Arc::new(fair(8));
    let (started, starts) = mpsc::channel();
    let gate = Arc::new(std::sync::Barrier::new(5));
    for _ in 0..4 {
        let (queue, started, gate) = (Arc::clone(&queue), started.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            let mut taker = Taker::default();
            while let Some(popped) = queue.pop(&mut taker) {
                started.send(popped.tasks).expect("the test listens");
                gate.wait();
            }
        });
    }
    queue.push_while_room(|room| (0..4).for_each(|task| room.push(task, 1, false, task as u32)));
    // All four are in hands at once, or the barrier would never open.
    for _ in 0..4 {
        starts
            .recv_timeout(PATIENCE)
            .expect("each task wakes a worker");
    }
    gate.wait();
    queue.close();
}

#[test]
fn many_workers_get_every_task_exactly_once() {
    fn is_quick(task: u32) -> bool {
        !task.is_multiple_of(5)
    }
    let queue = Arc::new(fair(16));
    let (got, tasks) = mpsc::channel();
    let (room, rooms) = mpsc::channel();
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let (queue, got, room) = (Arc::clone(&queue), got.clone(), room.clone());
            thread::spawn(move || {
                let mut taker = Taker::default();
                // Every other one looks before it waits.
                let looks = |taker: &mut Taker| match number % 2 {
                    0 => queue.try_pop(taker),
                    _ => None,
                };
                while let Some(popped) = looks(&mut taker).or_else(|| queue.pop(&mut taker)) {
                    // Of room that quick tasks made, their results tell.
                    if popped.made_room || is_quick(popped.tasks[0]) {
                        room.send(()).expect("the pusher listens");
                    }
                    for task in popped.tasks {
                        got.send(task).expect("the test listens");
                    }
                }
            })
        })
        .collect();
    const TASKS: u32 = 20_000;
    let mut source = (0..TASKS).peekable();
    while source.peek().is_some() {
        queue.push_while_room(|room| {
            while room.slots() > 0
                && let Some(task) = source.next()
            {
                let slots = room.slots().min(1 + task as usize % 3);
                room.push(task as usize % 7, slots, is_quick(task), task);
            }
        });
        if source.peek().is_some() {
            // The pusher sleeps until it is told: a lost report ends the test here.
            rooms.recv_timeout(PATIENCE).expect("room is reported");
        }
    }
    queue.close();
    for worker in workers {
        worker.join().expect("no panic");
    }
    drop(got);
    let all: Vec<u32> = tasks.iter().collect();
    assert_eq!(all.len(), TASKS as usize, "nothing twice");
    assert_eq!(
        all.into_iter().collect::<BTreeSet<_>>().len(),
        TASKS as usize,
        "nothing lost"
    );
}
