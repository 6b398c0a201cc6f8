//! A server that is being set up: its limits and signals first, then where it listens, then what
//! it serves.
//!
//! Knows all parts of the library; joins them once.
//!
//! Rule: whoever can connect can also stop it, so signals come before sockets.

use super::{Run, Server, ServiceSessions};
use crate::codec::{Codec, Guarded, Lines};
use crate::config::Config;
use crate::log::warn;
use crate::net::{Bound, MioNet, cannot};
use crate::panics::catch;
use crate::pool::{Crew, Pool, ResponseQueue, WorkQueue};
use crate::reactor::{Protocol, Reactor, Stopper};
use crate::service::Service;
use crate::task::{Completion, Task};
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

/// A server that is being set up.
///
/// Its event loop exists from the beginning, so a service can be given what stops the server:
///
/// ```
/// use reactor_pool::codec::LengthDelimited;
/// use reactor_pool::{Config, Response, Server};
///
/// let builder = Server::builder(Config::default().workers(2))?
///     .codec(LengthDelimited::new(65_536))
///     .listen("127.0.0.1:0")?;
/// let stopper = builder.stopper();
/// let server = builder.serve(move |request: &[u8], response: &mut Response<'_>| {
///     if request == b"quit" {
///         stopper.stop();
///     }
///     response.push(b"OK");
/// })?;
/// # server.stopper().stop();
/// server.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Builder<C = Lines> {
    config: Config,
    codec: Arc<C>,
    net: MioNet,
    queue: Arc<WorkQueue<Task>>,
    completions: Arc<ResponseQueue<Completion>>,
    bound: Vec<Bound>,
}

impl<C: fmt::Debug> fmt::Debug for Builder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("codec", &self.codec)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl Builder<Lines> {
    /// Takes over the signals, if `config` says so; it listens nowhere yet.
    pub(super) fn new(config: Config) -> io::Result<Builder> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let net = MioNet::new(&config)?;
        Ok(Builder {
            codec: Arc::new(Lines::new(config.max_line)),
            queue: Arc::new(WorkQueue::new(config.queue, config.queue_order)),
            completions: Arc::new(ResponseQueue::new(net.waker()?)),
            bound: Vec::new(),
            config,
            net,
        })
    }
}

impl<C: Codec> Builder<C> {
    /// Serves another protocol than that of lines.
    ///
    /// [`Config::max_line`] bounds the payloads of the requests that a connection has in flight:
    /// twice as many bytes. So it should be the codec's own limit.
    #[must_use]
    pub fn codec<D: Codec>(self, codec: D) -> Builder<D> {
        Builder {
            codec: Arc::new(codec),
            config: self.config,
            net: self.net,
            queue: self.queue,
            completions: self.completions,
            bound: self.bound,
        }
    }

    /// Will listen on all of `addresses`, beside those of earlier calls: a name has all of its
    /// addresses, and those with port 0 get one free port together. They are taken at once;
    /// clients can connect once [`Builder::serve`] has started the workers.
    ///
    /// An address of `addresses` that this machine does not have is only warned of, if there is
    /// another one. Where they are several, `[::]` takes IPv6 connections only; by itself it may
    /// take both kinds, as the system is configured.
    ///
    /// # Errors
    /// An address that cannot be had, which the message names, or a name that cannot be resolved,
    /// which it does not.
    pub fn listen(mut self, addresses: impl ToSocketAddrs) -> io::Result<Builder<C>> {
        let addresses = addresses.to_socket_addrs();
        let addresses: Vec<_> = addresses.map_err(cannot("listen"))?.collect();
        let bound = Bound::bind(&addresses, self.config.socket_buffer)?;
        self.bound.extend(bound);
        Ok(self)
    }

    /// A handle that stops the server from another thread. A stop that is asked for before
    /// [`Server::run`] ends it at once.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(&self.completions)
    }

    /// Starts the workers, then listens.
    ///
    /// # Errors
    /// A server that listens nowhere, a worker that does not start, or want of threads,
    /// descriptors or memory; the message says which.
    pub fn serve<S: Service>(self, service: S) -> io::Result<Server> {
        let Builder {
            config,
            codec,
            net,
            queue,
            completions,
            bound,
        } = self;
        if bound.is_empty() {
            let error = "the server listens nowhere: no address was given";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let addresses: Vec<_> = bound.iter().map(Bound::address).collect();
        let service = Arc::new(service);
        let crew = Crew {
            service: Arc::clone(&service),
            codec: Guarded::new(Arc::clone(&codec)),
            queue: Arc::clone(&queue),
            completions: Arc::clone(&completions),
            connections: Arc::default(),
        };
        let pool = Pool::start(&config, &crew)?;
        let sessions = ServiceSessions {
            service: Arc::clone(&service),
            connections: crew.connections,
        };
        let is_quick = move |request: &[u8]| catch(|| service.is_quick(request)).unwrap_or(false);
        let protocol = Protocol {
            codec,
            is_quick: Box::new(is_quick),
            sessions: Box::new(sessions),
        };
        let mut reactor = Reactor::new(&config, net, protocol, Arc::clone(&queue), completions);
        reactor.net_mut().listen(bound)?;
        reactor.start_accepting(addresses.len());
        for addr in addresses.iter().filter(|addr| !addr.ip().is_loopback()) {
            warn!(%addr, "reachable from other hosts, without encryption or passwords");
        }
        let stopper = reactor.stopper();
        let run = Run {
            reactor,
            pool,
            queue,
        };
        Ok(Server {
            run: Box::new(|| run.to_end()),
            addresses,
            stopper,
        })
    }
}
