//! How the process ends, for scripts and service managers.

use std::process::ExitCode;

/// The exit codes, as `docs/configuration.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Done = 0,
    /// Something failed on the way.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was started.
    Usage = 2,
    /// The cluster declined: a node id that belongs to another disk, a change of members it does not accept.
    Refused = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
