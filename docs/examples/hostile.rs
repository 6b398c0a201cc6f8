//! Clients that behave badly on purpose, to watch what a server does about them.
//!
//! Knows nothing of the server but its address; std only.
//!
//! Rule: bounded in number and time, and it says what it managed to send.
//!
//! ```sh
//! cargo run --release --example hostile -- 127.0.0.1:9000 never-read 200 10
//! ```

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str =
    "usage: hostile HOST:PORT never-read|no-line-end|partial-lines|held-back CLIENTS SECONDS";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [address, kind, clients, seconds] => {
            let (Some(kind), Ok(clients), Ok(seconds)) =
                (Kind::named(kind), clients.parse(), seconds.parse())
            else {
                return fail(USAGE);
            };
            match run(address, kind, clients, Duration::from_secs(seconds)) {
                Ok(sent) => {
                    println!("{clients} clients sent {sent} bytes");
                    ExitCode::SUCCESS
                }
                Err(cause) => fail(&format!("{address}: {cause}")),
            }
        }
        _ => fail(USAGE),
    }
}

fn fail(line: &str) -> ExitCode {
    eprintln!("{line}");
    ExitCode::from(2)
}

enum Kind {
    /// Pipelines ECHO of 1000 bytes and never reads an answer.
    NeverRead,
    /// Sends bytes without ever ending a line.
    NoLineEnd,
    /// Sends 60 KiB of a line and holds on to it.
    PartialLines,
    /// A slow request first, whose answer holds back all others.
    HeldBack,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "never-read" => Kind::NeverRead,
            "no-line-end" => Kind::NoLineEnd,
            "partial-lines" => Kind::PartialLines,
            "held-back" => Kind::HeldBack,
            _ => return None,
        })
    }

    /// What is sent first, and what is sent over and over then.
    fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let echoes = || {
            format!("ECHO {}\n", "x".repeat(1000))
                .repeat(64)
                .into_bytes()
        };
        match self {
            Kind::NeverRead => (Vec::new(), echoes()),
            Kind::NoLineEnd => (Vec::new(), vec![b'x'; 65_536]),
            Kind::PartialLines => (vec![b'x'; 60 * 1024], Vec::new()),
            Kind::HeldBack => (b"SLEEP 10000\n".to_vec(), echoes()),
        }
    }
}

fn run(address: &str, kind: Kind, clients: usize, time: Duration) -> std::io::Result<usize> {
    let (first, pattern) = kind.bytes();
    let end = Instant::now() + time;
    let mut sent = 0;
    // Each stream with its position in the pattern, so that lines stay whole across writes.
    let mut streams = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&first)?;
        stream.set_nonblocking(true)?;
        sent += first.len();
        streams.push((stream, 0));
    }
    while Instant::now() < end {
        let mut moved = 0;
        if !pattern.is_empty() {
            for (stream, position) in &mut streams {
                match stream.write(&pattern[*position..]) {
                    Ok(count) => {
                        *position = (*position + count) % pattern.len();
                        moved += count;
                    }
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
                    Err(cause) => return Err(cause),
                }
            }
        }
        sent += moved;
        if moved == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(sent)
}
