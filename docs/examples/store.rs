//! A key-value store that redis-cli and redis-benchmark talk to.
//!
//! Knows what commands do, and `resp.rs` how they look. It stores in memory, without a limit.
//!
//! Rule: the commands of a connection take effect one after the other.
//!
//! ```sh
//! cargo run --release --example resp &
//! redis-cli -p 9000 SET greeting hello
//! redis-benchmark -p 9000 -P 16 -t ping,set,get -n 100000 -c 50 -q
//! ```

mod resp;

use reactor_pool::{Config, Handler, Response, Server, StopSignals};
use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;

#[derive(Default)]
struct Store(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl Handler for Store {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        let (words, _) = resp::command(request).expect("the codec has found it");
        let [name, arguments @ ..] = &words[..] else {
            return; // Redis says nothing to an empty line, either.
        };
        let mut data = self.0.lock().expect("no command panics");
        match (&name.to_ascii_uppercase()[..], arguments) {
            (b"PING", []) => response.push(b"+PONG\r\n"),
            (b"PING" | b"ECHO", [text]) => push_bulk(text, response),
            (b"SET", [key, value]) => {
                data.insert(key.to_vec(), value.to_vec());
                response.push(b"+OK\r\n");
            }
            (b"GET", [key]) => match data.get(*key) {
                Some(value) => push_bulk(value, response),
                None => response.push(b"$-1\r\n"),
            },
            (b"DEL", keys) => {
                let gone = keys.iter().filter(|key| data.remove(**key).is_some());
                push_number(gone.count() as i64, response);
            }
            (b"INCR", [key]) => {
                let value = data.entry(key.to_vec()).or_insert_with(|| b"0".to_vec());
                let number = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let Some(sum) = number.and_then(|number: i64| number.checked_add(1)) else {
                    return response.push(b"-ERR value is not an integer or out of range\r\n");
                };
                *value = sum.to_string().into_bytes();
                push_number(sum, response);
            }
            (b"COMMAND", _) => response.push(b"*0\r\n"),
            (b"CONFIG", [_get, name]) => {
                response.push(b"*2\r\n");
                push_bulk(name, response);
                push_bulk(b"", response);
            }
            (b"QUIT", []) => {
                response.push(b"+OK\r\n");
                response.close_after();
            }
            _ => response.push(b"-ERR unknown command or wrong number of arguments\r\n"),
        }
    }

    /// A look-up in memory, and not much to copy.
    fn is_quick(&self, request: &[u8]) -> bool {
        request.len() < 4096
    }
}

fn push_bulk(text: &[u8], response: &mut Response<'_>) {
    write!(response, "${}\r\n", text.len()).expect("a response takes every write");
    response.push(text);
    response.push(b"\r\n");
}

fn push_number(number: i64, response: &mut Response<'_>) {
    write!(response, ":{number}\r\n").expect("a response takes every write");
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    let config = Config::default()
        .max_line(resp::MAX_COMMAND)
        .max_parallel(1)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::builder(config)?
        .codec(resp::Resp)
        .listen(address)?
        .serve(Store::default())?;
    println!("listening on {}", server.local_addr());
    server.run().map(drop)
}
