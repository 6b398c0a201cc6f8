//! What a server tells of single requests that asks for it: their times, as far as they are known.
//!
//! Knows what the test itself has sent, and when its handler ran.
//!
//! Rule: a test's own clock stands beside the server's.

use crate::harness::{Client, DEADLINE, Running, wait_until};
use reactor_pool::trace::{TaskEnd, TaskTimes, Trace};
use reactor_pool::{Config, Monitor, Response, Server};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn echo(request: &[u8], response: &mut Response<'_>) {
    response.push(request);
}

#[track_caller]
fn trace(monitor: &Monitor) -> Option<Arc<Trace>> {
    monitor.trace(DEADLINE).expect("the loop answers")
}

/// Sends that many requests one after the other, and takes their answers.
fn exchange(mut client: Client, requests: usize) {
    for _ in 0..requests {
        client.send("x\n");
        client.expect(&["x"]);
    }
}

#[test]
fn times_are_kept_only_where_they_are_asked_for() {
    for (tasks, is_traced) in [(0, false), (5, true)] {
        let config = Config::default().trace_tasks(tasks);
        let server = Server::bind("127.0.0.1:0", config, echo).expect("a free port");
        let monitor = server.monitor();
        assert!(trace(&monitor).is_none(), "nothing has run yet");
        let running = Running::run(Ok(server));
        exchange(running.connect(), 1);
        assert_eq!(trace(&monitor).is_some(), is_traced);
        running.stop();
        assert_eq!(trace(&monitor).is_some(), is_traced);
    }
}

#[test]
fn the_last_tasks_are_kept_and_the_others_counted() {
    let running = Running::start(Config::default().trace_tasks(5), echo);
    let monitor = running.monitor.clone();
    exchange(running.connect(), 8);
    running.stop();
    let trace = trace(&monitor).expect("it is asked for");
    let first: Vec<_> = trace.tasks.iter().map(|task| task.first).collect();
    assert_eq!((first, trace.dropped_requests), (vec![4, 5, 6, 7, 8], 3));
    assert_eq!(trace.ticks.len(), 5);
    assert!(trace.dropped_ticks > 0);
}

#[test]
fn nothing_in_a_trace_is_younger_than_the_trace() {
    let config = Config::default().workers(2).max_run(1).trace_tasks(10);
    let running = Running::start(config, echo);
    let monitor = running.monitor.clone();
    let mut looks = 0;
    thread::scope(|scope| {
        let client = scope.spawn(|| exchange(running.connect(), 10_000));
        while !client.is_finished() {
            let Some(trace) = trace(&monitor) else {
                continue;
            };
            looks += 1;
            for task in &trace.tasks {
                let known = known(task);
                assert!(known.is_sorted() && known.last() <= Some(&trace.taken_at));
            }
        }
    });
    assert!(looks > 100, "{looks} looks");
    running.stop();
}

/// The times of a task that are known, in the order in which they came about.
fn known(task: &TaskTimes) -> Vec<Instant> {
    let (started_at, finished_at) = match task.work {
        Some(work) => (Some(work.started_at), work.finished_at),
        None => (None, None),
    };
    let end = task.end.map(TaskEnd::at);
    let times = [
        Some(task.framed_at),
        task.queued_at,
        started_at,
        finished_at,
        end,
    ];
    times.into_iter().flatten().collect()
}

#[test]
fn each_request_has_the_times_that_are_known_so_far() {
    let (go_on, gate) = mpsc::channel::<()>();
    let (ran, runs) = mpsc::channel();
    let gate = Mutex::new((gate, ran));
    let config = Config::default().workers(1).queue(1).trace_tasks(100);
    let running = Running::start(config, move |_, _| {
        let (gate, ran) = &*gate.lock().expect("no panic");
        gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        ran.send(Instant::now()).expect("the test listens");
    });
    let monitor = running.monitor.clone();
    let look = || trace(&monitor).expect("it is asked for");
    let begin = Instant::now();
    let mut client = running.connect();
    client.send("x\n".repeat(3));
    let what_is_known = |trace: &Trace| {
        let mut tasks: Vec<_> = trace.tasks.iter().collect();
        tasks.sort_by_key(|task| task.first);
        tasks
            .iter()
            .map(|task| known(task).len())
            .collect::<Vec<_>>()
    };
    // One runs, one is queued, one waits for its slot.
    wait_until("all are where they can be", || {
        // Before the loop runs there is no trace.
        trace(&monitor).is_some_and(|trace| what_is_known(&trace) == [3, 2, 1])
    });
    let trace_before = look();
    let of_worker = trace_before.tasks.iter().filter_map(|task| task.work);
    assert_eq!(of_worker.map(|work| work.worker).collect::<Vec<_>>(), [0]);

    (0..3).for_each(|_| go_on.send(()).expect("the worker waits"));
    client.expect(&[""; 3]);
    drop(client);
    running.stop();
    let end = Instant::now();
    let trace = monitor.trace(Duration::ZERO).expect("it has ended");
    let trace = trace.expect("it is asked for");
    assert_eq!(trace.tasks.len(), 3, "each stands there once");
    assert!(trace.started_at <= begin && trace.taken_at <= end);
    for task in &trace.tasks {
        let known = known(task);
        assert_eq!((known.len(), task.requests), (5, 1));
        let all = [&[begin][..], &known, &[end]].concat();
        assert!(all.is_sorted(), "{task:?}");
        assert!(matches!(task.end, Some(TaskEnd::Written(_))));
        let ran_at = runs.recv_timeout(DEADLINE).expect("it ran");
        let (started_at, finished_at) = (known[2], known[3]);
        assert!((started_at..=finished_at).contains(&ran_at));
    }
    assert!(
        trace
            .ticks
            .iter()
            .all(|tick| tick.began_at <= tick.ended_at)
    );
    assert!(trace.ticks.is_sorted_by_key(|tick| tick.began_at));
}
