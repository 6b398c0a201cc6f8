//! Answers over HTTP: cut off the bytes that come, and handed to the client.
//!
//! Knows neither head nor body; `http_answer` does.
//!
//! Rule: what has no certain end ends the connection.

use std::time::Instant;

use crate::check::http_answer;
use crate::drive::client::Next;
use crate::drive::connection::Connection;
use crate::drive::desk::Desk;

impl Connection {
    /// Hands the answers in `bytes` to the client, each as its status and its body.
    pub(super) fn take_http(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        self.partial.extend_from_slice(bytes);
        let (mut answer, mut start) = (Vec::new(), 0);
        let wrong = loop {
            match http_answer::cut(&self.partial[start..], &mut answer) {
                Ok(Some(length)) => start += length,
                Ok(None) => break None,
                Err(text) => break Some(text),
            }
            desk.expectations.learn(&answer);
            if self.client.on_line(&answer, now, desk) == Next::Abandon {
                return self.abandon(desk);
            }
        };
        self.partial.drain(..start);
        if let Some(text) = wrong {
            self.end(&format!("given up at {text},"), desk);
        }
    }
}
