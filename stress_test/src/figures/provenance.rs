//! Where figures come from: which program measured, on which machine, and when.
//!
//! Knows the format of docs/stress_test.schema.json; reads nothing itself.
//!
//! Rule: what is not known is an empty text, and no error.

use serde::{Deserialize, Serialize};

/// Who measured, where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// The version of this program.
    pub(crate) version: String,
    /// Its arguments, without its own name.
    pub(crate) arguments: Vec<String>,
    /// The name of the machine.
    pub(crate) host: String,
    /// The model of its processor.
    pub(crate) processor: String,
    /// Processors that this program may use.
    pub(crate) processors: usize,
    /// The release of its kernel.
    pub(crate) kernel: String,
    /// When the measurement began: UTC in the form of RFC 3339, to a millisecond. Such texts sort
    /// in the order of time.
    pub(crate) started: String,
}
