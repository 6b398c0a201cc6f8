//! What is shown: progress, the texts on stdout, the page with plots.
//!
//! Knows words, units and pictures; no figure of its own.
//!
//! Rule: what is shown is in the figures.

pub(crate) mod comparison;
pub(crate) mod csv;
pub(crate) mod html;
pub(crate) mod progress;
pub(crate) mod ramp;
pub(crate) mod rounds;
pub(crate) mod run;
pub(crate) mod sweep;
