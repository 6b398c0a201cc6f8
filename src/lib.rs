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
//! | module | what lives there | what it may import |
//! |---|---|---|
//! | [`engine`] | all connections as pure state: framing, order, turns for slots, bounds, deadlines | `config`, `stats`, `task`, `wire` |
//! | `reactor` | the event loop: poll, listener, sockets, signals | `engine`, `pool` and all below |
//! | [`pool`] | work queue, workers and where they run, response queue | `handler`, `task`, `wire`, `config`, `stats` |
//! | [`Server`], [`Handler`] | the library's front: bind, run, stop; what an embedder implements | all; nothing |
//! | [`operations`] | ECHO, SLEEP, HASH: the handler of the `server` command | `handler`, `wire` |
//! | [`config`], [`stats`], [`task`], [`wire`], `log` | limits, counters, what crosses threads, the words on the wire, log lines that cannot panic | nearly nothing |
//!
//! Only the reactor's thread touches sockets and the engine; only the two queues and the number of
//! the loop's core are shared. docs/architecture.md follows one request all the way;
//! docs/protocol.md says what the wire promises.
//!
//! The modules [`engine`], [`pool`], [`task`] and [`wire`] are public for the tests and for
//! readers; only what stands at the root, [`config`], [`operations`] and [`stats`] keep their shape
//! between versions.
//!
//! A server with a handler of your own:
//!
//! ```no_run
//! use reactor_pool::{Config, Response, Server, StopSignals};
//!
//! let config = Config {
//!     workers: 8,
//!     stop_signals: StopSignals::WhileRunning,
//!     ..Config::default()
//! };
//! let shout = |request: &[u8], response: &mut Response<'_>| {
//!     response.push(b"OK ");
//!     response.push(&request.to_ascii_uppercase());
//! };
//! let server = Server::bind("127.0.0.1", 9000, config, shout)?;
//! let summary = server.run()?;
//! println!("answered {} requests", summary.stats.answered_ok);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod codec;
pub mod config;
pub mod engine;
mod handler;
mod log;
pub mod net;
pub mod pool;
pub mod reactor;
mod server;
pub mod stats;
pub mod task;

pub use config::{Config, StopSignals};
pub use engine::Unfinished;
pub use handler::{Handler, Response};
pub use reactor::{StopReason, Stopper};
pub use server::{Server, Summary};
pub use stats::QueueStats;
