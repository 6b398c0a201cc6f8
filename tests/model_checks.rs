//! Model checks: loom runs every interleaving of two or three threads over the production queues.
//!
//! Knows the queues' contracts.
//!
//! Rule: a model ends only if nothing is lost. A wake-up that does not come is a deadlock, which
//! loom reports; an item that comes twice or never fails an assertion.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p internals
//! --test model_checks`; in an ordinary `cargo test` this file is empty.

#![cfg(loom)]

#[path = "model_checks/stage.rs"]
mod stage;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use reactor_pool::pool::{Inquiry, Parking, Popped, ResponseQueue, Taker};
use stage::{Poll, Pusher, check, queue, responses, sleep, sorted, take_all};
use std::time::Duration;

// The work queue.

#[test]
fn every_task_goes_to_one_worker_and_close_ends_them_all() {
    check(None, || {
        let queue = queue(2);
        let workers = [(); 2].map(|()| {
            let queue = std::sync::Arc::clone(&queue);
            thread::spawn(move || {
                let mut got = Vec::new();
                take_all(Taker::new(&queue), |popped| got.push(popped.task));
                got
            })
        });
        Pusher::new(&queue, 2).submit(&mut vec![1, 2]);
        queue.close();
        let got = workers
            .map(|worker| worker.join().expect("no panic"))
            .concat();
        assert_eq!(sorted(got), [1, 2]);
    });
}

#[test]
fn workers_that_sleep_end_with_the_close() {
    check(None, || {
        let queue = queue(1);
        let workers = [(); 2].map(|()| {
            let queue = std::sync::Arc::clone(&queue);
            thread::spawn(move || Taker::new(&queue).pop())
        });
        queue.close();
        for worker in workers {
            assert!(worker.join().expect("no panic").is_none());
        }
        assert_eq!(queue.parking(), Parking::default(), "no count is left over");
    });
}

/// Neither worker is done with its task before the other has one too.
#[test]
fn one_push_of_two_tasks_sets_two_workers_to_work() {
    check(None, || {
        let queue = queue(2);
        let taken = Arc::new((Mutex::new(0), Condvar::new()));
        let workers = [(); 2].map(|()| {
            let (queue, taken) = (std::sync::Arc::clone(&queue), Arc::clone(&taken));
            thread::spawn(move || {
                let mut taker = Taker::new(&queue);
                taker.pop().expect("the queue is open");
                let (count, changed) = &*taken;
                let mut count = count.lock().expect("no model panics in here");
                *count += 1;
                changed.notify_one();
                while *count < 2 {
                    count = changed.wait(count).expect("no model panics in here");
                }
            })
        });
        Pusher::new(&queue, 2).submit(&mut vec![1, 2]);
        for worker in workers {
            worker.join().expect("no panic");
        }
    });
}

// Who is woken.

/// Tasks from this one on are slow: nobody may count on whoever takes one.
const SLOW: u32 = 10;

fn is_quick(task: u32) -> bool {
    task < SLOW
}

/// Opens when every task has been taken. As long as that, whoever took a slow one is kept here.
struct Gate {
    not_taken: Mutex<usize>,
    opened: Condvar,
}

impl Gate {
    fn new(tasks: usize) -> Arc<Gate> {
        Arc::new(Gate {
            not_taken: Mutex::new(tasks),
            opened: Condvar::new(),
        })
    }

    fn took(&self, task: u32) {
        *self.not_taken.lock().expect("no model panics in here") -= 1;
        if is_quick(task) {
            self.opened.notify_all();
        } else {
            self.wait();
        }
    }

    fn wait(&self) {
        let mut not_taken = self.not_taken.lock().expect("no model panics in here");
        while *not_taken > 0 {
            not_taken = self
                .opened
                .wait(not_taken)
                .expect("no model panics in here");
        }
        self.opened.notify_all();
    }
}

/// Two workers, and a pusher that makes each of `pushes` at once. Who is out with a slow task
/// comes back only when all others have been taken too: a task that lies beside a sleeping worker
/// whom nobody woke lies there for ever. Some tasks are only `called_quick`; then the pusher
/// checks when it is time.
fn tasks_find_workers(
    preemptions: Option<usize>,
    pushes: &'static [&'static [u32]],
    called_quick: fn(u32) -> bool,
) {
    check(preemptions, move || {
        let all = pushes.concat();
        let (queue, gate) = (queue(all.len()), Gate::new(all.len()));
        let workers = [(); 2].map(|()| {
            let (queue, gate) = (std::sync::Arc::clone(&queue), Arc::clone(&gate));
            thread::spawn(move || {
                let mut got = Vec::new();
                take_all(Taker::new(&queue), |popped| {
                    gate.took(popped.task);
                    got.push(popped.task);
                });
                got
            })
        });
        let mut pusher = Pusher::new(&queue, all.len());
        pusher.called_quick = called_quick;
        for push in pushes {
            pusher.submit(&mut push.iter().rev().copied().collect());
        }
        let mut check_at = pusher.check_at;
        while let Some(at) = check_at {
            check_at = queue.check(at);
        }
        // The close wakes everybody, so it comes when there is nothing left to be woken for.
        gate.wait();
        queue.close();
        let got = workers
            .map(|worker| worker.join().expect("no panic"))
            .concat();
        assert_eq!(sorted(got), sorted(all));
        assert_eq!(queue.parking(), Parking::default(), "no count is left over");
    });
}

#[test]
fn a_worker_that_comes_back_from_a_quick_task_to_a_slow_one_wakes_another_for_the_rest() {
    tasks_find_workers(Some(3), &[&[1, SLOW, 2]], is_quick);
}

#[test]
fn a_task_pushed_while_a_worker_is_out_with_a_quick_one_is_taken() {
    tasks_find_workers(Some(3), &[&[1], &[SLOW, 2]], is_quick);
}

#[test]
fn a_task_pushed_while_a_worker_is_out_with_a_slow_one_is_taken() {
    tasks_find_workers(Some(3), &[&[SLOW], &[1], &[SLOW + 1]], is_quick);
}

#[test]
fn a_task_beside_one_that_is_called_quick_and_is_not_finds_a_worker() {
    tasks_find_workers(Some(3), &[&[SLOW], &[SLOW + 1]], |_| true);
    tasks_find_workers(Some(3), &[&[SLOW, SLOW + 1]], |_| true);
    tasks_find_workers(Some(3), &[&[1, SLOW], &[SLOW + 1]], |_| true);
}

/// The pusher sleeps until it is told of room: a report that is lost, or given before there is
/// room, leaves a task beside a free slot.
fn room_is_reported(preemptions: Option<usize>, capacity: usize, tasks: u32, workers: usize) {
    check(preemptions, move || {
        let (queue, poll) = (queue(capacity), Poll::new());
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                let (queue, poll) = (std::sync::Arc::clone(&queue), Arc::clone(&poll));
                thread::spawn(move || {
                    let mut got = Vec::new();
                    take_all(Taker::new(&queue), |Popped { task, made_room }| {
                        if made_room {
                            poll.wake();
                        }
                        got.push(task);
                    });
                    got
                })
            })
            .collect();
        let mut left: Vec<u32> = (1..=tasks).collect();
        let mut pusher = Pusher::new(&queue, capacity);
        pusher.submit(&mut left);
        while !left.is_empty() {
            poll.sleep();
            pusher.submit(&mut left);
        }
        queue.close();
        let got = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        assert_eq!(
            sorted(got.flatten().collect()),
            (1..=tasks).collect::<Vec<_>>()
        );
    });
}

#[test]
fn the_pop_that_makes_awaited_room_reports_it_to_a_sleeping_pusher() {
    room_is_reported(None, 1, 3, 1);
}

#[test]
fn room_in_a_longer_queue_is_reported() {
    room_is_reported(None, 2, 4, 1);
}

#[test]
fn room_made_by_one_of_two_workers_is_reported() {
    room_is_reported(Some(3), 1, 2, 2);
}

#[test]
fn a_task_is_taken_by_a_worker_or_given_back_and_never_both() {
    check(None, || {
        let queue = queue(2);
        let mut pusher = Pusher::new(&queue, 2);
        pusher.submit(&mut vec![1, 2]);
        let worker = {
            let queue = std::sync::Arc::clone(&queue);
            thread::spawn(move || {
                let mut got = Vec::new();
                take_all(Taker::new(&queue), |popped| got.push(popped.task));
                got
            })
        };
        let given_back = queue.discard(1, |_| true).into_iter();
        let given_back = given_back.map(|job| job.number).collect();
        pusher.submit(&mut vec![3]);
        // Task 3 may find the queue full: it is not what this model is about.
        queue.close();
        let mut got = worker.join().expect("no panic");
        got.retain(|task| *task != 3);
        assert_eq!(sorted([got, given_back].concat()), [1, 2]);
    });
}

// The response queue.

/// Each pusher pushes its items and announces each; the consumer sleeps whenever it has drained.
fn responses_arrive(preemptions: Option<usize>, pushers: &'static [&'static [u32]]) {
    check(preemptions, move || {
        let poll = Poll::new();
        let responses = responses(&poll);
        let threads: Vec<_> = pushers
            .iter()
            .map(|items| {
                let responses = Arc::clone(&responses);
                thread::spawn(move || {
                    for item in *items {
                        responses.push(*item);
                        responses.announce();
                    }
                })
            })
            .collect();
        let (mut got, all) = (Vec::new(), pushers.concat());
        while got.len() < all.len() {
            sleep(&responses, &poll);
            responses.drain(|item| got.push(item));
        }
        assert_eq!(sorted(got), all);
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn a_consumer_that_sleeps_between_wakes_gets_every_response_once() {
    responses_arrive(None, &[&[1, 2]]);
    responses_arrive(Some(3), &[&[1, 2, 3]]);
}

#[test]
fn responses_of_two_workers_arrive() {
    responses_arrive(Some(3), &[&[1], &[2]]);
}

#[test]
fn responses_of_two_workers_arrive_while_one_goes_on() {
    responses_arrive(Some(2), &[&[1, 2], &[3]]);
}

/// What `Stopper::stop` and the reactor do: the one who is woken sees what was asked for.
#[test]
fn a_stop_that_is_asked_for_at_any_time_is_heard() {
    check(None, || {
        let poll = Poll::new();
        let responses: Arc<ResponseQueue<u32>> = responses(&poll);
        let asker = Arc::clone(&responses);
        let asker = thread::spawn(move || asker.ask_to_stop());
        // As the loop does: it looks after each drain, and sleeps if it finds nothing.
        loop {
            responses.drain(|_| ());
            if responses.is_stop_asked() {
                break;
            }
            sleep(&responses, &poll);
        }
        asker.join().expect("no panic");
    });
}

/// What `Monitor::snapshot` and the reactor do. Each asker has done something before it asks; its
/// answer must know of that. The loop ends when it likes, and nobody is left waiting.
fn questions_are_answered(preemptions: Option<usize>, askers: usize, ends_early: bool) {
    check(preemptions, move || {
        let poll = Poll::new();
        let responses: Arc<ResponseQueue<u32>> = responses(&poll);
        let inquiry = Arc::new(Inquiry::new(0));
        let done = Arc::new(AtomicUsize::new(0));
        inquiry.open();
        let askers: Vec<_> = (0..askers)
            .map(|asker| {
                let (responses, inquiry) = (Arc::clone(&responses), Arc::clone(&inquiry));
                let done = Arc::clone(&done);
                thread::spawn(move || {
                    done.fetch_add(1 << asker, Ordering::Relaxed);
                    let answer = inquiry.ask(Duration::MAX, || responses.announce());
                    let answer = answer.expect("there is no time here");
                    let is_known = answer & 1 << asker != 0;
                    assert!(
                        is_known || ends_early,
                        "an answer is older than its question"
                    );
                })
            })
            .collect();
        // As the loop does: it looks after each drain, and sleeps if nothing was announced since.
        let (mut answered, all) = (0, askers.len() as u64);
        while !ends_early && answered < all {
            responses.drain(|_| ());
            if let Some(number) = inquiry.asked() {
                inquiry.answer(number, done.load(Ordering::Relaxed));
                answered = number;
            }
            if answered < all {
                sleep(&responses, &poll);
            }
        }
        if ends_early {
            inquiry.close(|last| last);
        }
        for asker in askers {
            asker.join().expect("no panic");
        }
    });
}

#[test]
fn each_question_gets_an_answer_that_is_younger() {
    questions_are_answered(None, 1, false);
    questions_are_answered(Some(3), 2, false);
}

#[test]
fn a_question_to_a_loop_that_ends_is_answered() {
    questions_are_answered(Some(3), 2, true);
}

#[test]
fn a_drain_sees_what_was_written_before_the_announcement() {
    check(Some(3), || {
        let poll = Poll::new();
        let responses = responses(&poll);
        let asked = Arc::new(AtomicBool::new(false));
        let asker = {
            let (responses, asked) = (Arc::clone(&responses), Arc::clone(&asked));
            thread::spawn(move || {
                asked.store(true, Ordering::Release);
                responses.announce();
            })
        };
        let worker = {
            let responses = Arc::clone(&responses);
            thread::spawn(move || {
                responses.push(1);
                responses.announce();
            })
        };
        let (mut got, mut is_asked) = (0, false);
        while got == 0 || !is_asked {
            sleep(&responses, &poll);
            // The other way round, an announcement between the two is taken for one that is
            // answered.
            responses.drain(|item| got += item);
            is_asked |= asked.load(Ordering::Acquire);
        }
        assert_eq!(got, 1);
        asker.join().expect("no panic");
        worker.join().expect("no panic");
    });
}

// Both.

/// The whole way of requests through a queue that is too short for them, as the reactor and the
/// workers go it: neither side sleeps while there is something for it.
#[test]
fn every_request_gets_its_response_through_both_queues() {
    check(Some(3), || {
        let (queue, poll) = (queue(1), Poll::new());
        let responses = responses(&poll);
        let worker = {
            let (taker, responses) = (Taker::new(&queue), Arc::clone(&responses));
            thread::spawn(move || {
                take_all(taker, |popped| {
                    if popped.made_room {
                        responses.announce();
                    }
                    responses.push(10 * popped.task);
                    responses.announce();
                });
            })
        };
        let (mut left, mut got) = (vec![1, 2, 3], Vec::new());
        let mut pusher = Pusher::new(&queue, 1);
        pusher.submit(&mut left);
        while got.len() < 3 {
            sleep(&responses, &poll);
            responses.drain(|response| got.push(response));
            pusher.submit(&mut left);
        }
        queue.close();
        worker.join().expect("no panic");
        assert_eq!(sorted(got), [10, 20, 30]);
    });
}
