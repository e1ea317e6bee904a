//! Why a try to open a session failed.

use std::time::Duration;

use super::{Closed, NoUpgrade};
use crate::http::{Error, Fault};

/// Before the next try, unless the server asks for longer.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Why a try to open failed.
pub(super) enum Failed {
    /// It may go better elsewhere, or later.
    ForNow { pause: Duration, error: Error },
    /// It will not.
    ForGood(Error),
}

impl From<Closed> for Failed {
    fn from(_: Closed) -> Self {
        Self::ForNow { pause: PAUSE, error: Error::Unreachable(Fault::Io) }
    }
}

impl From<NoUpgrade> for Failed {
    fn from(why: NoUpgrade) -> Self {
        match why {
            NoUpgrade::Fault(fault) => Self::ForNow { pause: PAUSE, error: Error::Unreachable(fault) },
            NoUpgrade::Refused { status, retry_after } => {
                let error = Error::Refused { status, code: "upgrade_refused".to_owned() };
                match status {
                    429 | 503 => Self::ForNow { pause: retry_after.unwrap_or(PAUSE), error },
                    _ => Self::ForGood(error),
                }
            }
        }
    }
}
