//! A client of the realtime endpoint: sessions that outlive their connections, in either encoding.
//!
//! [`Connection`] is one WebSocket; [`Session`] what a server knows a client by, taken up again elsewhere when its
//! connection is lost. A session's driver polls it itself, there is no task in between.

mod binary;
mod connection;
mod event;
mod failed;
mod json;
mod session;
mod tally;

pub use connection::{Closed, Connection, Incoming, NoUpgrade};
pub use event::{Event, Position, Reply};
pub use session::{Options, Session};
pub use tally::{Idle, SocketTally, Sockets};

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// Text frames.
    Json,
    /// Binary frames.
    Flatbuffers,
}

impl Encoding {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Flatbuffers => "flatbuffers",
        }
    }
}
