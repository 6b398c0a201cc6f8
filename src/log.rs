//! The log as the rest of the crate writes it: tracing's macros, of which no panic comes out.
//!
//! Knows nothing of what is logged.
//!
//! Rule: an embedder's subscriber may panic (that of tracing-subscriber does when nobody reads
//! stderr any more). That costs its line, and neither an answer nor a thread. (At trace mio writes
//! lines of its own, which are not guarded.)

use crate::panics::catch;

/// Runs what writes a line.
pub(crate) fn guard(write: impl FnOnce()) {
    // There is nowhere to tell of a panic: what would tell has just failed.
    drop(catch(write));
}

macro_rules! guarded {
    ($level:ident, $macro:ident, $($line:tt)*) => {
        if tracing::level_filters::LevelFilter::current() >= tracing::Level::$level {
            $crate::log::guard(|| tracing::$macro!($($line)*));
        }
    };
}

macro_rules! error {
    ($($line:tt)*) => { $crate::log::guarded!(ERROR, error, $($line)*) };
}
// `warn` alone is also the name of an attribute.
macro_rules! warning {
    ($($line:tt)*) => { $crate::log::guarded!(WARN, warn, $($line)*) };
}
macro_rules! info {
    ($($line:tt)*) => { $crate::log::guarded!(INFO, info, $($line)*) };
}
macro_rules! debug {
    ($($line:tt)*) => { $crate::log::guarded!(DEBUG, debug, $($line)*) };
}
macro_rules! trace {
    ($($line:tt)*) => { $crate::log::guarded!(TRACE, trace, $($line)*) };
}

pub(crate) use {debug, error, guarded, info, trace, warning as warn};
