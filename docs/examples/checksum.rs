//! A server of your own: CPU work behind the same loop, queue and bounds as the `server` command.
//!
//! Knows only the library; no command line, no log.
//!
//! Rule: whatever the handler does, one line goes in and one line comes out.
//!
//! ```sh
//! cargo run --release --example checksum &
//! printf 'hello\n' | nc -N 127.0.0.1 9000
//! ```

use reactor_pool::{Config, Handler, Response, Server, StopSignals};
use std::io::Write;

/// Answers each line with its FNV-1a hash, computed `rounds` times over.
struct Checksum {
    rounds: u32,
}

impl Handler for Checksum {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        // Offset basis and prime of FNV-1a, 64 bits (draft-eastlake-fnv).
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for _ in 0..self.rounds {
            for byte in request {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        write!(response, "OK {hash:016x}").expect("a response line takes every write");
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    let config = Config::default()
        .workers(std::thread::available_parallelism()?.get())
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::bind(address, config, Checksum { rounds: 1000 })?;
    println!("listening on {}", server.local_addr());
    let summary = server.run()?;
    println!("answered {} requests", summary.stats.answered_ok);
    Ok(())
}
