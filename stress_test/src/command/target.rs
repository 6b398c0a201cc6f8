//! The server under test: found by its name, or started for the run.
//!
//! Knows names, addresses and the server's flags; sends nothing.
//!
//! Rule: a server that was started is stopped, and a bad end of it is a failure of the run.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::Context;
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::Kind;
use crate::command::cli::{LoadArguments, TargetArguments};
use crate::command::error::Error;
use crate::command::spawn::{Options, SpawnedServer};
use crate::figures::outcome::{Ended, Outcome};

/// The server under test.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it listens: all addresses of its name, of which the first that takes clients counts.
    pub(crate) addresses: Vec<SocketAddr>,
    /// For people.
    pub(crate) name: String,
    /// The server itself, if it is ours.
    pub(crate) server: Option<SpawnedServer>,
}

impl Target {
    /// The server that `arguments` name, or a new one for so many `connections`.
    pub(crate) fn find(
        arguments: &TargetArguments,
        load: &LoadArguments,
        connections: u32,
        show_log: bool,
        signals: &mut Signals,
    ) -> Result<Self, Error> {
        if !arguments.spawn {
            return Self::resolve(&arguments.host, arguments.port);
        }
        let (workers, queue) = (arguments.workers, arguments.queue);
        let options = Options {
            arguments: load.server_arguments(workers, queue, connections, &arguments.server_arg),
            show_log,
        };
        Self::spawn(&options, signals)
    }

    /// A new server with `options`.
    pub(crate) fn spawn(options: &Options, signals: &mut Signals) -> Result<Self, Error> {
        let (server, address) = SpawnedServer::start(options, signals)?;
        Ok(Self {
            addresses: vec![address],
            name: format!("{address} (spawned: server {options})"),
            server: Some(server),
        })
    }

    fn resolve(host: &str, port: u32) -> Result<Self, Error> {
        let name = format!("{host}:{port}");
        let addresses = || -> io::Result<Vec<SocketAddr>> {
            let port = u16::try_from(port).map_err(io::Error::other)?;
            let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
            if addresses.is_empty() {
                return Err(io::Error::other("the name has no address"));
            }
            Ok(addresses)
        };
        match addresses() {
            Ok(addresses) => Ok(Self {
                addresses,
                name,
                server: None,
            }),
            Err(cause) => Err(Error::NothingListening {
                target: name,
                cause,
            }),
        }
    }

    /// Stops the server if it is ours.
    pub(crate) fn stop(self, outcome: &mut Outcome) -> Result<(), Error> {
        let Some(server) = self.server else {
            return Ok(());
        };
        let hurry = matches!(outcome.ended, Ended::Interrupted(_));
        let wrong = server.stop(hurry);
        if let Some(text) = wrong.context("cannot stop the spawned server")? {
            let place = format_args!("the spawned server");
            outcome.ledger.failures.add(Kind::Server, 1, place, &text);
        }
        Ok(())
    }
}
