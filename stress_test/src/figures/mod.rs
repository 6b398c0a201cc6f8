//! What it came to: the account of a run, and the figures that follow from it.
//!
//! Knows counts and times; not who asked, nor how figures are shown.
//!
//! Rule: the figures are the format of docs/stress_test.schema.json, and every output is made of
//! them.

pub(crate) mod backlog;
pub(crate) mod comparison;
pub(crate) mod connections;
pub(crate) mod distribution;
pub(crate) mod fairness;
pub(crate) mod generator;
pub(crate) mod heat;
pub(crate) mod interval;
pub(crate) mod latencies;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod occupancy;
pub(crate) mod outcome;
pub(crate) mod provenance;
pub(crate) mod queueing;
pub(crate) mod ramp;
pub(crate) mod results;
pub(crate) mod rounds;
pub(crate) mod saved;
pub(crate) mod stages;
pub(crate) mod sweep;
pub(crate) mod threshold;
pub(crate) mod timeline;
