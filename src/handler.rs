//! The trait that an embedder implements: one request line in, one response line out.
//!
//! Knows nothing of the rest of the house.
//!
//! Rule: a handler may block, burn CPU or panic; it harms only the worker that runs it, and that
//! only for as long as it runs.

use std::io;

/// Answers requests. One handler serves all workers at once.
///
/// ```
/// use reactor_pool::{Handler, ResponseLine};
///
/// /// Answers each line with its length.
/// struct Length;
///
/// impl Handler for Length {
///     fn handle(&self, request: &[u8], response: &mut ResponseLine<'_>) {
///         response.push(format!("OK {}", request.len()).as_bytes());
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// `request` is the line without its ending (LF or CR LF), at most `max_line` bytes, any
    /// bytes but LF. What is pushed to `response` is sent as one line; the LF is added. By
    /// convention it begins with `OK ` or `ERR `, and only lines that begin with `OK` are counted
    /// as successes. It may be empty. Its length is the handler's matter: the bounds on memory count it,
    /// but cannot shorten it.
    ///
    /// Runs on a worker thread, and for different requests on several at once.
    ///
    /// # Panics
    /// A panic is caught and logged, the client gets `ERR internal error`, and the worker goes on
    /// with the same handler: what it guards must bear being left in the middle. So does a client whose
    /// handler pushed an LF, because a second line would be taken for the next response.
    fn handle(&self, request: &[u8], response: &mut ResponseLine<'_>);
}

impl<F> Handler for F
where
    F: Fn(&[u8], &mut ResponseLine<'_>) + Send + Sync + 'static,
{
    fn handle(&self, request: &[u8], response: &mut ResponseLine<'_>) {
        self(request, response);
    }
}

/// Where a handler writes its response line.
///
/// Also an [`io::Write`] that never fails, for `write!`.
#[derive(Debug)]
pub struct ResponseLine<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> ResponseLine<'a> {
    /// A line that is appended to `bytes`: also how a test of a handler reads what it answers.
    pub fn new(bytes: &'a mut Vec<u8>) -> ResponseLine<'a> {
        ResponseLine { bytes }
    }

    /// Appends to the line. No LF.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for a line of `bytes` bytes, where the handler knows its length beforehand.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }
}

impl io::Write for ResponseLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
