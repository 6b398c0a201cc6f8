//! A TCP line server for work that blocks or burns CPU: one reactor thread plus a worker pool.
//!
//! ```text
//!               one thread                                        N threads
//!  ┌─────────────────────────────────────┐                 ┌──────────────────────┐
//!  │ reactor                             │    WorkQueue    │ worker-0 … worker-N  │
//!  │  sockets ──bytes──▶ engine ──tasks──┼──▶ (bounded) ──▶│  Handler::handle()   │
//!  │     ▲                 │  ▲          │                 │          │           │
//!  │     └──────bytes──────┘  └─responses┼── ResponseQueue ◀──────────┘           │
//!  │                                     │      + waker    │                      │
//!  └─────────────────────────────────────┘                 └──────────────────────┘
//! ```
//!
//! The engine **decides**, the reactor **does**, the pool **works**:
//!
//! | module | what lives there |
//! |---|---|
//! | [`Server`], [`Builder`], [`Handler`], [`Service`] | the front: set up, run, stop; yours |
//! | [`codec`] | what a request and a response look like; the only place that knows |
//! | `engine` | all connections as pure state: order, fair queue, bounds, deadlines |
//! | `reactor` | the event loop: a tick as a list of verbs, serving one connection, shutdown |
//! | `net` | what the reactor asks of the system, and mio's answer: sockets, signals, time |
//! | `pool` | work queue, who is parked and woken, workers, response queue |
//! | `task` | what crosses threads |
//! | [`config`], [`stats`], `log` | limits, counters, log lines that cannot panic |
//! | [`trace`] | the times of single tasks |
//!
//! Which of them may import which, `tests/tidy.rs` says, and fails when one does not keep to it.
//! Only the reactor's thread touches sockets and the engine; only the two queues are shared.
//! docs/architecture.md follows one request all the way; docs/protocol.md says what the wire
//! promises.
//!
//! Modules without a link are no interface. The feature `internals` makes them public, for the
//! tests of this repository; they may change in any version.
//!
//! A server with a handler of your own:
//!
//! ```no_run
//! use reactor_pool::{Config, Response, Server};
//!
//! let shout = |request: &[u8], response: &mut Response<'_>| {
//!     response.push(b"OK ");
//!     response.push(&request.to_ascii_uppercase());
//! };
//! let server = Server::bind("127.0.0.1:9000", Config::default().workers(8), shout)?;
//! let summary = server.run()?;
//! println!("answered {} requests", summary.stats.answered_ok);
//! # Ok::<(), std::io::Error>(())
//! ```

#![cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "tests use more of the internal modules than the server does"
    )
)]

/// The code of the guide and of the README, as tests.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../docs/handler-guide.md")]
#[doc = include_str!("../README.md")]
struct Guides;

mod address;
pub mod codec;
pub mod config;
mod connections;
mod handler;
mod log;
mod panics;
mod proxy;
mod server;
mod service;
pub mod stats;
pub mod trace;

#[cfg(feature = "internals")]
pub mod engine;
#[cfg(feature = "internals")]
pub mod net;
#[cfg(feature = "internals")]
pub mod pool;
#[cfg(feature = "internals")]
pub mod reactor;
#[cfg(feature = "internals")]
pub mod task;

#[cfg(not(feature = "internals"))]
mod engine;
#[cfg(not(feature = "internals"))]
mod net;
#[cfg(not(feature = "internals"))]
mod pool;
#[cfg(not(feature = "internals"))]
mod reactor;
#[cfg(not(feature = "internals"))]
mod task;

pub use address::{Address, Peer};
pub use config::Config;
#[cfg(feature = "signals")]
pub use config::StopSignals;
pub use engine::{ConnectionState, ConnectionView, PauseReason, Unfinished};
pub use handler::{Handler, Response};
pub use net::Listener;
pub use reactor::{
    Monitor, NotAnswering, RunningView, ServerState, Snapshot, StopReason, Stopper,
    TOP_CONNECTIONS, WorkerView,
};
pub use server::{Builder, Server, Summary};
pub use service::{Request, Service};
pub use stats::QueueStats;
pub use task::ConnectionId;
