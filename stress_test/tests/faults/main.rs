//! The built `stress_test` against servers with one fault each.
//!
//! Knows the command line and what is printed; of the library only the double, the server with a
//! fault.
//!
//! Rule: tests are named after what is promised to who runs the command.

mod answers;
mod command;
mod comparing;
mod environment;
mod framing;
mod http;
mod measuring;
mod operations;
mod reconnect;
mod schema;
mod series;
mod stages;
mod strangers;
mod streams;
mod support;
mod tables;
mod templates;
mod threads;
