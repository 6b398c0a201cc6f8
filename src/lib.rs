//! One reactor thread plus a worker pool.
pub mod config;
pub mod engine;
mod handler;
pub mod operations;
pub mod pool;
mod reactor;
mod server;
pub mod stats;
pub mod task;
pub mod wire;

pub use config::Config;
pub use engine::Owed;
pub use handler::{Handler, ResponseLine};
pub use pool::LockWaits;
pub use reactor::{Ending, Stopper};
pub use server::{Server, Summary};
pub use stats::{Gauge, Stats, Times};
