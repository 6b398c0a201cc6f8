//! What is asked: how many clients send which requests, and when.
//!
//! Knows no socket, no time of day and no right answer.
//!
//! Rule: everything in it follows from the plan, and the plan from the command line.

pub(crate) mod frame;
pub(crate) mod hostile;
pub(crate) mod http;
pub(crate) mod mix;
pub(crate) mod part;
pub(crate) mod payload;
pub(crate) mod plan;
pub(crate) mod schedule;
pub(crate) mod sizes;
pub(crate) mod stages;
pub(crate) mod template;
pub(crate) mod workload;
