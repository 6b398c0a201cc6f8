//! A service over HTTP: `curl --data-binary @file http://127.0.0.1:9000/sha256` answers with a
//! digest.
//!
//! Knows one path; the work is CPU-bound, so it belongs on workers.
//!
//! Rule: whatever the request, the handler writes one whole response.
//!
//! `cargo run --release --example http`, and stop it with Ctrl-C.

use reactor_pool::codec::Http1;
use reactor_pool::codec::http1::{Request, respond};
use reactor_pool::{Config, Response, Server, StopSignals};
use sha2::{Digest, Sha256};

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
        ("GET" | "HEAD", "/") => respond(response, 200, TEXT, b"POST to /sha256\n"),
        _ => respond(response, 404, TEXT, b"there is only /sha256\n"),
    }
}

fn main() -> std::io::Result<()> {
    let config = Config::default()
        .max_line(MAX_BODY_BYTES)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::builder(config)?
        .codec(Http1::new(MAX_BODY_BYTES))
        .listen("127.0.0.1:9000")?
        .serve(answer)?;
    println!("http://{}/sha256", server.local_addr());
    server.run().map(drop)
}
