//! Notes in a database, over HTTP: a library that blocks, and a connection for each worker.
//!
//! Knows `POST /notes`, `GET /notes` and `GET /notes/NUMBER`.
//!
//! Rule: readers never wait for a writer, and writers only for each other.
//!
//! ```sh
//! cargo run --release --example sqlite &
//! curl --data 'buy milk' http://127.0.0.1:9000/notes
//! curl http://127.0.0.1:9000/notes/1
//! ```

use reactor_pool::codec::{Http1, http1};
use reactor_pool::{Config, Request, Response, Server, Service, StopSignals};
use rusqlite::{Connection, ErrorCode};
use std::error::Error;
use std::time::Duration;

const MAX_NOTE_BYTES: usize = 65_536;
/// With a write-ahead log, readers do not wait for a writer.
const SETUP: &str = "PRAGMA journal_mode = wal;
    CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, text TEXT);";

/// The path of the database.
struct Notes(String);

/// A status and a body.
fn answer(database: &Connection, request: &http1::Request<'_>) -> rusqlite::Result<(u16, String)> {
    match (request.method, request.target) {
        ("POST", "/notes") => {
            let text = String::from_utf8_lossy(&request.body);
            database.execute("INSERT INTO notes (text) VALUES (?)", [text])?;
            Ok((201, database.last_insert_rowid().to_string()))
        }
        ("GET" | "HEAD", "/notes") => {
            let count = "SELECT count(*) || ' notes' FROM notes";
            Ok((200, database.query_row(count, (), |row| row.get(0))?))
        }
        ("GET" | "HEAD", target) => {
            let number = target.strip_prefix("/notes/");
            let text = "SELECT text FROM notes WHERE number = ?";
            Ok((200, database.query_row(text, [number], |row| row.get(0))?))
        }
        _ => Ok((405, "GET, or POST to /notes".to_owned())),
    }
}

impl Service for Notes {
    type Worker = Connection;

    fn start(&self, _worker: usize) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let database = Connection::open(&self.0)?;
        database.busy_timeout(Duration::from_secs(2))?;
        Ok(database)
    }

    fn handle(
        &self,
        database: &mut Connection,
        request: &Request<'_>,
        response: &mut Response<'_>,
    ) {
        let request = http1::Request::parse(request.bytes()).expect("the codec has found it");
        let (status, body) = answer(database, &request).unwrap_or_else(|cause| {
            let status = match (&cause, cause.sqlite_error_code()) {
                (rusqlite::Error::QueryReturnedNoRows, _) => 404,
                (_, Some(ErrorCode::DatabaseBusy)) => 503,
                _ => 500,
            };
            (status, cause.to_string())
        });
        let body = format!("{body}\n");
        http1::respond(response, status, "text/plain", body.as_bytes());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (address, path) = (std::env::args().nth(1), std::env::args().nth(2));
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    let path = path.unwrap_or("notes.db".to_owned());
    Connection::open(&path)?.execute_batch(SETUP)?;
    let config = Config::default()
        .max_line(MAX_NOTE_BYTES)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::builder(config)?
        .codec(Http1::new(MAX_NOTE_BYTES))
        .listen(address)?
        .serve(Notes(path))?;
    println!("listening on http://{}/notes", server.local_addr());
    server.run()?;
    Ok(())
}
