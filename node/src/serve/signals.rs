//! SIGTERM and SIGINT, which end the process, and SIGHUP, which has files read again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;

/// The same number on all systems that a node runs on.
const SIGXFSZ: i32 = 25;
/// What service managers send.
pub(super) const TERMINATE: &str = "SIGTERM";

/// The signals that end a process in good order.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => TERMINATE,
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The next one ends the process without further ado.
    pub(crate) async fn second_ends_at_once(mut self) {
        let signal = self.next().await;
        crate::terminal::tell(&format!("conclave: {signal} again: ending at once"));
        std::process::exit(Exit::Failed as i32);
    }
}

/// A write beyond the limit on file sizes (`ulimit -f`) fails from now on as other writes do, where the signal would end the
/// process without a word.
pub(super) fn take_file_size_limit() -> io::Result<()> {
    // Whoever asks for a signal once has taken it from the system for good; nobody waits for this one.
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Counts SIGHUPs. From now on they no longer end the process.
pub(super) fn hangups() -> io::Result<watch::Receiver<u64>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(0);
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP: certificates, keys, revocations, cluster.secret_file and webhooks.secret_file are read again; the \
                 configuration and ice.secrets are not"
            );
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}
