//! Why a command ends without a result.
//!
//! Knows the one line that is said, and the exit code.
//!
//! Rule: whatever was measured is no error but a result, and ends with a verdict.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::command::exit;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Error {
    /// A flag is wrong, which the text says.
    Usage(String),
    /// There is no server where it should be.
    NothingListening {
        /// Where, for people.
        target: String,
        /// What connecting came to.
        cause: io::Error,
    },
    /// There is no server to spawn at this path.
    NoServer(PathBuf),
    /// The spawned server did not get as far as listening.
    NotStarted(anyhow::Error),
    /// A signal came before there was anything to report.
    Interrupted,
    /// A file of results cannot be used, which the text says.
    File(PathBuf, String),
    /// The system did not do what is needed.
    System(anyhow::Error),
}

impl Error {
    /// What the command exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::NothingListening { .. } | Self::NoServer(_) | Self::NotStarted(_) => {
                exit::NOTHING_LISTENING
            }
            Self::Interrupted => exit::INTERRUPTED,
            Self::File(..) | Self::System(_) => exit::FAIL,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::NothingListening { target, cause } => {
                write!(f, "nothing is listening on {target}: {cause}")
            }
            Self::NoServer(path) => write!(
                f,
                "--spawn: there is no server at {}; build it with `cargo build --release`",
                path.display()
            ),
            Self::NotStarted(error) => write!(f, "--spawn: {error:#}"),
            Self::Interrupted => f.write_str("interrupted before the server was listening"),
            Self::File(path, text) => write!(f, "{}: {text}", path.display()),
            Self::System(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::System(error)
    }
}
