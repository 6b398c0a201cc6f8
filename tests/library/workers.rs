//! The threads of the workers: their name and their stack.
//!
//! Knows the threads only by what a handler sees of them.
//!
//! Rule: a stack that is too small ends the whole test program, as it would end any other.

use crate::harness::Running;
use reactor_pool::{Config, Response, config};
use std::hint::black_box;
use std::thread;

#[test]
fn workers_have_the_name_that_is_asked_for() {
    let config = Config::default().workers(2).worker_name("ha\0sh".into());
    let server = Running::start(config, |_: &[u8], response: &mut Response<'_>| {
        response.push(thread::current().name().unwrap_or_default().as_bytes());
    });
    let mut client = server.connect();
    client.send("\n".repeat(20));
    for _ in 0..20 {
        let name = client.line();
        assert!(["hash-0", "hash-1"].contains(&name.as_str()), "{name}");
    }
    drop(client);
    server.stop();
}

/// Uses the stack down to `bytes` below `top`; says how many those were.
fn dig(top: usize, bytes: usize) -> usize {
    let room = black_box([0_u8; 1024]);
    match top.abs_diff(room.as_ptr() as usize) {
        depth if depth < bytes => black_box(dig(top, bytes)),
        depth => depth,
    }
}

#[test]
fn a_stack_can_be_used_to_the_size_that_is_asked_for() {
    const STACK: usize = 16 << 20;
    let config = Config::default().worker_stack(STACK);
    let server = Running::start(config, |_: &[u8], response: &mut Response<'_>| {
        let top = 0_u8;
        let depth = dig(black_box(&raw const top) as usize, STACK / 8 * 7);
        response.push(depth.to_string().as_bytes());
    });
    let mut client = server.connect();
    client.send("dig\n");
    let depth: usize = client.line().parse().expect("a depth");
    assert!(depth >= STACK / 8 * 7, "{depth}");
    drop(client);
    server.stop();
}

#[test]
fn the_smallest_stack_is_enough_to_answer_and_to_panic() {
    let config = Config::default().worker_stack(config::WORKER_STACK.min as usize);
    let server = Running::start(config, |request: &[u8], response: &mut Response<'_>| {
        assert_ne!(request, b"panic", "as it was asked to");
        response.push(b"OK");
    });
    let mut client = server.connect();
    client.send("a\npanic\nb\n");
    client.expect(&["OK", "ERR internal error", "OK"]);
    drop(client);
    server.stop();
}
