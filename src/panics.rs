//! Catches panics of code that is not ours: of handlers, and of those who read the log.
//!
//! Knows nothing of what is run.
//!
//! Rule: no panic passes, not even that of a panic's own payload.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of others; a panic of it comes back as its text.
///
/// A handler is told in its contract that it is used again after a panic.
pub(crate) fn catch<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic_text(&*panic);
        drop_panic(panic);
        text
    })
}

/// What a panic says, fit for a line of the log: it may hold bytes of the client.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    const SHOWN_CHARS: usize = 200;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("not a text");
    text.chars()
        .take(SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

/// Drops what a panic carried. That may panic in turn, and what such a panic carries is kept for
/// good.
fn drop_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
