//! What stands for the signals where the feature `signals` is off: nothing takes any over.
//!
//! Knows what `signals.rs` offers.
//!
//! Rule: a [`SignalSource`] cannot exist.

use super::Signal;
use crate::config::Config;
use mio::{Registry, Token};
use std::io;

#[derive(Debug)]
pub(super) enum SignalSource {}

impl SignalSource {
    pub(super) fn take_over(
        _: &Config,
        _: &Registry,
        _: Token,
    ) -> io::Result<Option<SignalSource>> {
        Ok(None)
    }

    pub(super) fn pending(&mut self) -> Vec<Signal> {
        match *self {}
    }
}
