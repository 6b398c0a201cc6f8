//! What is right: the one right answer to each request, and the words for what is wrong.
//!
//! Knows what is asked; not over which connection, nor when.
//!
//! Rule: the oracle knows the request line only, never why it was sent.

pub(crate) mod expectations;
pub(crate) mod failure;
pub(crate) mod faulty_server;
pub(crate) mod http_answer;
pub(crate) mod oracle;
pub(crate) mod sent;
