//! Password hashes as a service: each takes 19 MiB of memory, which a worker has from the start.
//!
//! Knows the lines `HASH password` and `VERIFY hash password`; a hash is the string that other
//! implementations of argon2 make and read.
//!
//! Rule: what a request costs is the server's choice and never the client's.
//!
//! ```sh
//! cargo run --release --example passwords &
//! echo 'HASH correct horse' | nc -N 127.0.0.1 9000
//! ```

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use reactor_pool::{Config, Request, Response, Server, Service, StopSignals};
use std::error::Error;
use std::io::Write;

const USAGE: &str = "this service knows HASH password and VERIFY hash password";

#[derive(Default)]
struct Passwords(Argon2<'static>);

impl Passwords {
    fn answer(&self, request: &[u8], memory: &mut [Block]) -> Result<String, Box<dyn Error>> {
        let (name, arguments) = str::from_utf8(request)?.split_once(' ').ok_or(USAGE)?;
        match name {
            "HASH" => {
                let hash = self.hash(arguments, Salt::generate(), memory)?;
                Ok(hash.to_string())
            }
            "VERIFY" => {
                let (hash, password) = arguments.split_once(' ').ok_or(USAGE)?;
                let hash = PasswordHash::new(hash)?;
                let salt = hash.salt.ok_or("the hash has no salt")?;
                // A hash of another cost does not match, whatever the password.
                match self.hash(password, salt, memory)? == hash {
                    true => Ok("right password".to_owned()),
                    false => Err("wrong password".into()),
                }
            }
            _ => Err(USAGE.into()),
        }
    }

    fn hash(
        &self,
        password: &str,
        salt: Salt,
        memory: &mut [Block],
    ) -> Result<PasswordHash, Box<dyn Error>> {
        let (argon2, mut hash) = (&self.0, [0; Params::DEFAULT_OUTPUT_LEN]);
        argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut hash, memory)?;
        Ok(PasswordHash {
            algorithm: Algorithm::default().ident(),
            version: Some(Version::default().into()),
            params: argon2.params().try_into()?,
            salt: Some(salt),
            hash: Some(Output::new(&hash)?),
        })
    }
}

impl Service for Passwords {
    type Worker = Vec<Block>;

    fn start(&self, _worker: usize) -> Result<Vec<Block>, Box<dyn Error + Send + Sync>> {
        Ok(vec![Block::new(); self.0.params().block_count()])
    }

    fn handle(&self, memory: &mut Vec<Block>, request: &Request<'_>, response: &mut Response<'_>) {
        if request.is_gone() {
            return; // Nobody waits for it any more.
        }
        match self.answer(request.bytes(), memory) {
            Ok(text) => write!(response, "OK {text}"),
            Err(cause) => write!(response, "ERR {cause}"),
        }
        .expect("a response takes every write");
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:9000".to_owned());
    let config = Config::default()
        .workers(std::thread::available_parallelism()?.get())
        .max_line(1024)
        .stop_signals(StopSignals::WhileRunning);
    let server = Server::bind(address, config, Passwords::default())?;
    println!("listening on {}", server.local_addr());
    server.run().map(drop)
}
