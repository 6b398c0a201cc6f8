//! The trait that an embedder implements: one request in, one response out.
//!
//! Knows nothing of the other modules.
//!
//! Rule: a handler may block, burn CPU or panic; it harms only the worker that runs it, and that
//! only for as long as it runs.

use std::io;
use std::sync::Arc;

/// Answers requests. One handler serves all workers at once.
///
/// # What ends the whole program
///
/// Panics are caught where they unwind. A program that is built with `panic = "abort"` ends at the
/// first panic of a handler, a service or a codec, and all its connections break off. What does
/// not speak of panics holds there, too.
///
/// A stack that overflows ends every program, with a line on standard error that names the worker.
/// Bound how deep a request may make a handler recurse, or ask for more
/// ([`Config::worker_stack`](field@crate::Config::worker_stack)). A handler that aborts or exits
/// does the same.
///
/// # Example
///
/// ```
/// use reactor_pool::{Handler, Response};
///
/// /// Answers each line with its length.
/// struct Length;
///
/// impl Handler for Length {
///     fn handle(&self, request: &[u8], response: &mut Response<'_>) {
///         response.push(format!("OK {}", request.len()).as_bytes());
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// `request` is what the [`Codec`](crate::codec::Codec) calls the payload: with
    /// [`Lines`](crate::codec::Lines) the line without its ending, at most `max_line` bytes, any
    /// bytes but LF. What is pushed to `response` is sent as one response, framed by the codec.
    /// With `Lines` it is one line, to which the LF is added; by convention it begins with `OK `
    /// or `ERR `, and only lines that begin with `OK` are counted as successes. It may be empty.
    /// Its length is the handler's matter: the bounds on memory count it, but cannot shorten it.
    ///
    /// Runs on a worker thread, and for different requests on several at once. That holds for
    /// requests of one connection, too: one may run before the one in front of it has taken
    /// effect. Where that matters, see
    /// [`Config::max_parallel`](field@crate::Config::max_parallel).
    ///
    /// # Panics
    /// A panic is caught and logged, the client gets `ERR internal error`, and the worker goes on
    /// with the same handler: what it guards must bear being left in the middle. The client gets
    /// the same where the codec cannot send what was pushed as one response, such as two lines.
    fn handle(&self, request: &[u8], response: &mut Response<'_>);

    /// Whether `request` is answered within microseconds and never blocks: it costs less than its
    /// hand-off to a worker and back. List what is quick, so that what is added later is not.
    ///
    /// Quick requests that follow each other on a connection travel together as one *run*, at most
    /// [`MAX_RUN`](crate::config::MAX_RUN) of them and 16 KiB. One worker answers them one after
    /// the other. Every other request travels alone, can run beside its neighbours, and gets its
    /// turn among those of other connections one by one. The default calls none quick, which is
    /// never wrong, only slower for small requests.
    ///
    /// The event loop asks, for each request: look at a few bytes, and answer; a panic counts as
    /// no. A slow request that is called quick holds up its worker, and the requests behind it in
    /// its run. The pool expects that worker back at once, so it may call another one for what is
    /// queued nearly a millisecond later. A run that takes longer than a millisecond is counted
    /// ([`Stats::quick_overruns`](crate::stats::Stats::quick_overruns)) and warned of.
    fn is_quick(&self, request: &[u8]) -> bool {
        let _ = request;
        false
    }
}

impl<F> Handler for F
where
    F: Fn(&[u8], &mut Response<'_>) + Send + Sync + 'static,
{
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        self(request, response);
    }
}

/// A handler that several servers share.
impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        H::handle(self, request, response);
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        H::is_quick(self, request)
    }
}

/// Where a handler writes its response.
///
/// Also an [`io::Write`] that never fails, for `write!`.
#[derive(Debug)]
pub struct Response<'a> {
    bytes: &'a mut Vec<u8>,
    is_last: bool,
}

impl<'a> Response<'a> {
    /// A response that is appended to `bytes`: also how a test of a handler reads what it answers.
    pub fn new(bytes: &'a mut Vec<u8>) -> Response<'a> {
        Response {
            bytes,
            is_last: false,
        }
    }

    /// Appends to the response.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Has the connection closed after this response. Requests behind it get no response, and are
    /// not run unless they have been handed to the workers already.
    pub fn close_after(&mut self) {
        self.is_last = true;
    }

    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Makes room for a response of `bytes` bytes, where the handler knows its length beforehand.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }
}

impl io::Write for Response<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
