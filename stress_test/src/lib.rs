//! The `stress_test` command: many clients against one server, every answer verified.
//!
//! All of it is here but the binary's `main`, which calls [`main`]. The rest that is public is the
//! server with one fault, for tests of the built command.
//!
//! Rule: who may know whom goes one way: `driver` turns the event loop over `connection`s, each of
//! which owns a `client`; that judges answers by `expectations`, which joins `workload` (what is
//! asked) and `oracle` (what is right), or takes both from a `template`, and accounts for them in the
//! `ledger`. `results` makes figures of that, which every output is made of. Only `driver`,
//! `connection` and `alarm` know descriptors.

mod check;
mod command;
mod draws;
mod drive;
mod figures;
mod load;
mod output;
mod wire;

pub use crate::check::faulty_server::{Fault, FaultyServer, STALL};
pub use crate::command::main;
pub use crate::wire::Limits;
