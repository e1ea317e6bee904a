//! A second hold on a connection, for ending it when the server that owns it would wait.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::Extensions;

use crate::listener::{Ending, Stream};

/// A peer that acknowledges nothing, or lets nothing be sent, for so long is gone (RFC 5482).
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What each new connection keeps until its first request tells whether it becomes a socket. One that doesn't gives
/// the second descriptor back.
#[derive(Debug)]
pub struct Spare(Mutex<Option<Hangup>>);

impl Spare {
    /// For whatever tells of a new connection.
    pub(crate) fn keep(stream: &Stream, extensions: &mut Extensions) {
        // Out of descriptors, a connection lives without: it is ended more slowly.
        if let Ok(second) = stream.tcp().as_fd().try_clone_to_owned() {
            let hangup = Hangup { tcp: Arc::new(second.into()), ending: stream.ending() };
            extensions.insert(Self(Mutex::new(Some(hangup))));
        }
    }

    /// Takes the descriptor out, for a socket or to be dropped.
    pub fn take(&self) -> Option<Hangup> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends one connection.
#[derive(Debug, Clone)]
pub struct Hangup {
    tcp: Arc<TcpStream>,
    ending: Option<Ending>,
}

impl Hangup {
    /// Has the system give up on a peer that keeps what it is sent from arriving.
    pub(super) fn expect_acknowledgements(&self) {
        let silence = u32::try_from(SILENCE_MAX.as_millis()).unwrap_or(u32::MAX);
        // A system without this has its own, longer patience.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&*self.tcp, silence);
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) {
        if let Some(ending) = &self.ending {
            // TLS has a last word of its own, which only the server can say.
            return ending.ask();
        }
        // One that is closed already needs no more ending.
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Ends it, whatever is under way.
    pub(super) fn cut(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}
