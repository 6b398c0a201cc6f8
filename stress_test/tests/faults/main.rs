//! The built `stress_test` against servers with one fault each.
//!
//! Knows the command line and what is printed; of the program itself only the double, which is not
//! part of it, and what the double is made of.
//!
//! Rule: tests are named after what is promised to who runs the command.

#[path = "../../src/faulty_server.rs"]
mod faulty_server;
#[path = "../../src/oracle.rs"]
#[expect(dead_code, reason = "the double never ends a line itself")]
mod oracle;
#[path = "../../src/plan.rs"]
#[expect(dead_code, reason = "the double needs the limits only")]
mod plan;
#[path = "../../src/template.rs"]
#[expect(
    dead_code,
    reason = "part of a plan, of which the double needs the limits only"
)]
mod template;

mod answers;
mod command;
mod measuring;
mod schema;
mod series;
mod support;
mod templates;
