//! How a series of measurements ended: rounds, a sweep, a ramp.
//!
//! Knows errors and exit codes; not what was measured.
//!
//! Rule: what has been measured is kept and shown, whatever comes then.

use crate::command::error::Error;
use crate::command::exit;
use crate::figures::results::Verdict;

/// How a series ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All has been measured.
    Complete,
    /// By a signal.
    Interrupted,
    /// Something could not be measured, for this reason.
    Broken(Error),
}

impl End {
    /// The end of a series that came to `measured`, and may `have_results` from before. Without
    /// any, what broke it is all that there is to say.
    pub(crate) fn of(measured: Result<(), Error>, have_results: bool) -> Result<Self, Error> {
        match measured {
            Ok(()) => Ok(Self::Complete),
            Err(Error::Interrupted) => Ok(Self::Interrupted),
            Err(error) if have_results => Ok(Self::Broken(error)),
            Err(error) => Err(error),
        }
    }

    /// What a series comes to that did not get to its end, if it did not. `is_failing` says
    /// whether something was wrong in it.
    pub(crate) fn cut_short(&self, is_failing: bool) -> Option<(Verdict, u8)> {
        match self {
            Self::Complete => None,
            Self::Interrupted if is_failing => Some((Verdict::InterruptedFailing, exit::FAIL)),
            Self::Interrupted => Some((Verdict::InterruptedClean, exit::INTERRUPTED)),
            Self::Broken(error) => Some((Verdict::Fail, error.exit_code())),
        }
    }

    /// What the command exits with whose result says `exit_code`, or why it broke.
    pub(crate) fn exit(self, exit_code: u8) -> Result<u8, Error> {
        match self {
            Self::Complete | Self::Interrupted => Ok(exit_code),
            Self::Broken(error) => Err(error),
        }
    }
}
