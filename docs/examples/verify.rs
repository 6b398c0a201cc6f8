//! Signature checks as a service: work that burns CPU, over frames in which any byte may stand.
//!
//! Knows envelopes: an ed25519 public key (32 bytes), a signature (64 bytes), and the message.
//! Each has its length in front of it, and so has each answer.
//!
//! Rule: a signature that is not proven right is wrong.
//!
//! ```sh
//! cargo run --release --example verify &
//! openssl genpkey -algorithm ed25519 -out key
//! openssl pkey -in key -pubout -outform DER | tail -c 32 >envelope
//! openssl pkeyutl -sign -inkey key -rawin -in README.md >>envelope
//! cat README.md >>envelope
//! { perl -e 'print pack "N", -s "envelope"'; cat envelope; } | nc -N 127.0.0.1 9000
//! ```

use ed25519_dalek::{Signature, VerifyingKey};
use reactor_pool::codec::LengthDelimited;
use reactor_pool::{Config, Response, Server, StopSignals};

const MAX_ENVELOPE: usize = 65_536;

fn verify(envelope: &[u8]) -> Result<(), &'static str> {
    let (key, rest) = envelope.split_first_chunk().ok_or("no public key")?;
    let (signature, message) = rest.split_first_chunk().ok_or("no signature")?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| "not a public key")?;
    // Strict: a signature that others could change into another valid one is refused, too.
    key.verify_strict(message, &Signature::from_bytes(signature))
        .map_err(|_| "wrong signature")
}

fn answer(envelope: &[u8], response: &mut Response<'_>) {
    match verify(envelope) {
        Ok(()) => response.push(b"OK"),
        Err(why) => {
            response.push(b"ERR ");
            response.push(why.as_bytes());
        }
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    let config = Config::default()
        .workers(std::thread::available_parallelism()?.get())
        .max_line(MAX_ENVELOPE)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::builder(config)?
        .codec(LengthDelimited::new(MAX_ENVELOPE))
        .listen(address)?
        .serve(answer)?;
    println!("listening on {}", server.local_addr());
    server.run().map(drop)
}
