//! A service over HTTP: `curl --data-binary @file http://127.0.0.1:9000/sha256` answers with a
//! digest.
//!
//! Knows two paths; the work of one burns CPU, that of the other blocks, so both belong on
//! workers.
//!
//! Rule: whatever the request, the handler writes one whole response.
//!
//! `cargo run --release --example http`, and stop it with Ctrl-C.

use reactor_pool::codec::Http1;
use reactor_pool::codec::http1::{Request, respond};
use reactor_pool::{Config, Response, Server, StopSignals};
use sha2::{Digest, Sha256};
use std::time::Duration;

const MAX_BODY_BYTES: usize = 1 << 20;
const TEXT: &str = "text/plain";

fn answer(request: &[u8], response: &mut Response<'_>) {
    let request = Request::parse(request).expect("the codec has found it");
    match (request.method, request.target) {
        ("POST", "/sha256") => {
            let digest = Sha256::digest(&request.body);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            respond(response, 200, TEXT, format!("{hex}\n").as_bytes());
        }
        (_, "/sha256") => respond(response, 405, TEXT, b"POST what is to be hashed\n"),
        ("GET" | "HEAD", "/slow") => {
            // In the place of a database, or of another service.
            std::thread::sleep(Duration::from_millis(300));
            respond(response, 200, TEXT, b"done\n");
        }
        ("GET" | "HEAD", "/") => respond(response, 200, TEXT, b"POST to /sha256, or GET /slow\n"),
        _ => respond(response, 404, TEXT, b"there are only /sha256 and /slow\n"),
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    // Twelve requests may run or wait their turn; what has found no place for half a second gets
    // status 503, at which a proxy tries another server.
    let config = Config::default()
        .workers(4)
        .queue(8)
        .busy_timeout(Duration::from_millis(500))
        .max_line(MAX_BODY_BYTES)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::builder(config)?
        .codec(Http1::new(MAX_BODY_BYTES))
        .listen(address)?
        .serve(answer)?;
    println!("listening on http://{}", server.local_addr());
    server.run().map(drop)
}
