//! A server that is being set up: its limits and signals first, then where it listens, then what
//! it serves.
//!
//! Knows all parts of the library; joins them once.
//!
//! Rule: whoever can connect can also stop it, so signals come before sockets.

use super::{Run, Server, ServiceSessions};
use crate::address::Address;
use crate::codec::{Codec, Guarded, Lines};
use crate::config::Config;
use crate::log::warn;
use crate::net::{Bound, Listener, MioNet, cannot};
use crate::panics::catch;
use crate::pool::{Board, Crew, Pool, ResponseQueue, WorkQueue};
use crate::reactor::{Monitor, Monitored, Protocol, Reactor, Stopper};
use crate::service::Service;
use crate::task::{Completion, Task};
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
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
    monitor: Monitor,
    monitored: Monitored,
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
        let completions = Arc::new(ResponseQueue::new(net.waker()?));
        let (monitor, monitored) = Monitor::new(Arc::new(Board::new(config.workers)), &completions);
        Ok(Builder {
            codec: Arc::new(Lines::new(config.max_line)),
            queue: Arc::new(WorkQueue::new(config.queue, config.queue_order)),
            completions,
            monitor,
            monitored,
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
            monitor: self.monitor,
            monitored: self.monitored,
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
        let bound = Bound::tcp(&addresses, &self.config)?;
        self.bound.extend(bound);
        Ok(self)
    }

    /// Listens at `path`, too: clients can connect from here on, and are served once the server
    /// runs.
    ///
    /// A socket that is there already is replaced if nobody answers at it. Whoever may write the
    /// file may connect, which the umask decides (unix(7)). The file is removed when the server
    /// stops listening, or is dropped, unless there is another one by then.
    ///
    /// Servers of this crate that start at once do not take each other's socket for stale: they
    /// lock the folder meanwhile (flock(2)), where they may read it.
    ///
    /// # Errors
    /// Somebody answers there ([`io::ErrorKind::AddrInUse`]), or a file of another kind is there,
    /// which is left alone. Or the path is longer than an address can be (107 bytes on Linux), or
    /// the folder does not allow it. The message names the path.
    pub fn listen_unix(mut self, path: impl AsRef<Path>) -> io::Result<Builder<C>> {
        self.bound.push(Bound::unix(path.as_ref())?);
        Ok(self)
    }

    /// Accepts from `listener`, too: one that was made by somebody else.
    ///
    /// It is set to be non-blocking, which all see that have a copy of it, and its backlog stays
    /// as it is. So do the sizes of its buffers, which connections of TCP have from their
    /// listener; those of unix sockets get [`Config::socket_buffer`]. Clients may have connected
    /// already, before signals were taken over. The file of a unix socket stays where it is at the
    /// end.
    ///
    /// # Errors
    /// When the system does not know it as a listener of its kind.
    pub fn listener(mut self, listener: impl Into<Listener>) -> io::Result<Builder<C>> {
        let bound = Bound::given(listener.into());
        self.bound
            .push(bound.map_err(cannot("take over the listener"))?);
        Ok(self)
    }

    /// Accepts from `listener` as [`Builder::listener`] does, and leaves clients there for a later
    /// server: for sockets that somebody keeps open while servers come and go, such as systemd.
    ///
    /// From the second half of [`Config::stop_delay`] on nothing is accepted there. What connects
    /// then waits in the backlog until the next server accepts it. Without a next server it is
    /// lost.
    ///
    /// # Errors
    /// As [`Builder::listener`].
    pub fn shared_listener(mut self, listener: impl Into<Listener>) -> io::Result<Builder<C>> {
        let bound = Bound::given(listener.into()).map(Bound::shared);
        self.bound
            .push(bound.map_err(cannot("take over the listener"))?);
        Ok(self)
    }

    /// A handle that stops the server from another thread. A stop that is asked for before
    /// [`Server::run`] ends it at once.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(&self.completions)
    }

    /// A handle that asks the server for its numbers while it runs, from any thread.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
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
            monitor,
            monitored,
            bound,
        } = self;
        if bound.is_empty() {
            let error = "the server listens nowhere: no address was given";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let are_shared: Vec<_> = bound.iter().map(Bound::is_shared).collect();
        let addresses: Vec<_> = bound.iter().map(|bound| bound.address().clone()).collect();
        let service = Arc::new(service);
        let crew = Crew {
            service: Arc::clone(&service),
            codec: Guarded::new(Arc::clone(&codec)),
            queue: Arc::clone(&queue),
            completions: Arc::clone(&completions),
            connections: Arc::clone(monitor.connections_open()),
            board: Arc::clone(monitored.board()),
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
        let mut reactor = Reactor::new(
            &config,
            net,
            protocol,
            Arc::clone(&queue),
            completions,
            monitored,
        );
        reactor.net_mut().listen(bound, config.socket_buffer)?;
        reactor.start_accepting(are_shared);
        let tcp = addresses.iter().filter_map(Address::tcp);
        for addr in tcp.filter(|addr| !addr.ip().is_loopback()) {
            warn!(%addr, "reachable from other hosts, without encryption or passwords");
        }
        let stopper = reactor.stopper();
        let run = Run {
            reactor,
            pool,
            queue,
        };
        Ok(Server {
            run: Box::new(|| run.until_stopped()),
            addresses,
            stopper,
            monitor,
        })
    }
}
