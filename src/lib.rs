//! A TCP server for work that blocks or burns CPU: one reactor thread owns all sockets, a fixed
//! pool of workers runs your handler, and a bounded queue stands between them.
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
//!
//! Six names are enough to begin with:
//!
//! | name | what it is |
//! |---|---|
//! | [`Handler`] | yours: one request in, one response out; a closure is one |
//! | [`Service`] | the same with a state for each worker; it also hears of connections |
//! | [`Config`] | every limit and timeout, with defaults and ranges |
//! | [`Server`] | binds and runs; [`Server::builder`] takes several listeners and other protocols |
//! | [`Stopper`] | stops a server from any thread; what has arrived is answered first |
//! | [`Monitor`] | tells how a server is doing while it runs |
//!
//! What a request looks like is a [`Codec`](codec::Codec)'s choice: [`codec::Lines`] by default,
//! [`codec::LengthDelimited`], `codec::Http1` with the feature `http`, or one of your own.
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
//! The engine **decides**, the reactor **does**, the pool **works**: docs/architecture.md follows
//! one request all the way, and docs/protocol.md says what the server promises its clients. The
//! modules `engine`, `net`, `pool`, `reactor` and `task` are no part of the interface: the feature
//! `internals` makes them public for the tests of this repository, and any version may change
//! them.

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
