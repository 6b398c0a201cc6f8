//! What holds for every connection: the limits, the codec, and what the handler calls quick.
//!
//! Knows no connection.
//!
//! Rule: it never changes.

use crate::codec::{Codec, Guarded, Refusal};
use crate::config::Config;
use crate::engine::IsQuick;
use std::fmt;

pub(in crate::engine) struct Rules<C> {
    pub(in crate::engine) config: Config,
    pub(in crate::engine) codec: Guarded<C>,
    pub(in crate::engine) is_quick: IsQuick,
}

impl<C: fmt::Debug> fmt::Debug for Rules<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("config", &self.config)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<C: Codec> Rules<C> {
    /// Whether the handler calls a request quick. Where none shares a run it is not asked.
    pub(super) fn is_quick(&self, payload: &[u8]) -> bool {
        self.config.max_run > 1 && (self.is_quick)(payload)
    }

    /// What a client is told that has sent these bytes, the first ones, and speaks another
    /// protocol. The codec has called `seen` of them incomplete.
    pub(super) fn foreign(&self, bytes: &[u8], seen: usize) -> Option<Refusal> {
        let foreign = self.codec.call(|codec| Ok(codec.foreign(bytes, seen)));
        // The codec's next call makes its mistake again. Behind a header there is a proxy that
        // knows where it belongs, and what looks like one more was sent by its client.
        let foreign = foreign.ok().flatten();
        let is_proxied = self.config.proxy_protocol;
        foreign.filter(|why| !(is_proxied && *why == Refusal::ProxyHeader))
    }
}
