//! Sockets that the program was started with: the socket activation of systemd, sd_listen_fds(3).
//!
//! Knows the names of sockets, and nothing of what is served at them.
//!
//! Rule: whoever passes sockets decides where the server listens; what cannot be used is an error,
//! never left out.

use listenfd::ListenFd;
use reactor_pool::Listener;
use rustix::net::sockopt::socket_acceptconn;
use std::env;

/// What a socket of the admin interface is called.
const ADMIN: &str = "admin";

/// Sockets that were passed. They listen already, and whoever passed them may keep them open.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Those of the server itself, in their order.
    pub(crate) main: Vec<Listener>,
    /// Those that are called [`ADMIN`].
    pub(crate) admin: Vec<Listener>,
}

impl Passed {
    /// Takes what `LISTEN_FDS` says; nothing if `LISTEN_PID` is another process. Call it once, and
    /// first: before anything is opened, for the descriptors are known by their numbers, and
    /// before there are other threads, for it removes the two variables.
    pub(crate) fn take() -> Result<Passed, String> {
        let Some(count) = env::var_os("LISTEN_FDS") else {
            return Ok(Passed::default());
        };
        let count = count.to_string_lossy();
        if count.parse::<u16>().is_err() {
            return Err(format!(
                "LISTEN_FDS is {count:?}: allowed are whole numbers from 0 to {}",
                u16::MAX
            ));
        }
        let mut sockets = ListenFd::from_env();
        let names = names(sockets.len())?;
        let mut passed = Passed::default();
        for (at, name) in names.iter().enumerate() {
            let listener = take(&mut sockets, at)?;
            match name.as_str() {
                ADMIN => passed.admin.push(listener),
                _ => passed.main.push(listener),
            }
        }
        Ok(passed)
    }
}

/// One for each socket; empty where they have none.
fn names(sockets: usize) -> Result<Vec<String>, String> {
    let text = env::var_os("LISTEN_FDNAMES").unwrap_or_default();
    let text = text.to_string_lossy();
    if sockets == 0 || text.is_empty() {
        return Ok(vec![String::new(); sockets]);
    }
    let names: Vec<_> = text.split(':').map(str::to_owned).collect();
    match names.len() == sockets {
        true => Ok(names),
        // One that is called admin may be any of them.
        false => Err(format!(
            "LISTEN_FDNAMES has {} names: LISTEN_FDS has {sockets} sockets",
            names.len()
        )),
    }
}

fn take(sockets: &mut ListenFd, at: usize) -> Result<Listener, String> {
    let number = at + 1;
    let (listens, listener) = if let Ok(Some(listener)) = sockets.take_tcp_listener(at) {
        (socket_acceptconn(&listener), Listener::from(listener))
    } else if let Ok(Some(listener)) = sockets.take_unix_listener(at) {
        (socket_acceptconn(&listener), Listener::from(listener))
    } else {
        return Err(format!(
            "LISTEN_FDS passes something else than a TCP or unix stream socket, as number {number}"
        ));
    };
    match listens {
        Ok(false) => Err(format!(
            "LISTEN_FDS passes a socket that does not listen, as number {number}"
        )),
        _ => Ok(listener),
    }
}
