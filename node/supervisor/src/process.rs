//! One process.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

pub use rustix::process::Signal;

/// A child of this process, killed and awaited when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    /// Apart from the child, which closes what it has when it is waited for.
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts a program. To be called within a runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(command: impl Into<Command>) -> io::Result<Self> {
        let mut child = command.into().spawn()?;
        let (pid, lifeline) = (child.id().unwrap_or_default(), child.stdin.take());
        Ok(Self { child, pid, _lifeline: lifeline })
    }

    /// Starts a node with its output appended to `log`, in a process group of its own: a Ctrl-C is for its parent.
    ///
    /// Its standard input is a pipe that stays open for as long as this process is there, however it ends. A node that
    /// was told `--exit-with-stdin` ends with it.
    ///
    /// # Errors
    /// If the system refuses, or the file cannot be written.
    pub fn start_node(command: impl Into<Command>, log: &Path) -> io::Result<Self> {
        let mut command = command.into();
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        Self::start({
            command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out).process_group(0);
            command
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If its end was noticed: the number may be another process's now.
    pub fn signal(&self, to_send: Signal) -> io::Result<()> {
        signal(self.child.id().ok_or(io::ErrorKind::NotFound)?, to_send)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// If the system cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the system cannot say.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end with SIGTERM, and kills it if it has not after `patience`.
    ///
    /// # Errors
    /// If the system cannot say how it ended.
    pub async fn stop(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        // One that is gone hears neither. One that was frozen must run to hear the first.
        let _ = self.signal(Signal::TERM).and_then(|()| self.signal(Signal::CONT));
        match timeout(patience, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.child.start_kill()?;
                self.wait().await
            }
        }
    }

    /// SIGKILL, and blocks until it has ended.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
            return Ok(());
        };
        self.child.start_kill()?;
        // Waited for here and reaped below, by the runtime that started it.
        let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), end))?;
        self.child.try_wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Sends a signal to a process, which need not be a child.
///
/// # Errors
/// If there is none of that number, or it is somebody else's.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scratch, tail, until};

    const LONG: Duration = Duration::from_secs(10);

    /// What a shell that runs `script` and says `up` has said in the end, once `then` was done to it.
    async fn said(script: &str, then: impl AsyncFnOnce(Process)) -> String {
        let home = scratch("conclave-supervisor-").unwrap();
        let log = home.path().join("log");
        let mut shell = Command::new("/bin/sh");
        // Reads its standard input, so that an early end of the pipe would show as another word.
        shell.args(["-c", &format!("{script}; echo up; while read line; do :; done; echo cut")]);
        let process = Process::start_node(shell, &log).unwrap();
        until(LONG, async || (tail(&log, 1) == "up").then_some(())).await.unwrap();
        then(process).await;
        tail(&log, 1)
    }

    #[tokio::test]
    async fn who_is_asked_to_end_gets_sigterm_also_when_frozen_and_keeps_its_lifeline() {
        let stop = async |mut process: Process| {
            process.signal(Signal::STOP).unwrap();
            assert_eq!(process.stop(LONG).await.unwrap().code(), Some(7));
            process.signal(Signal::TERM).unwrap_err();
        };
        assert_eq!(said("trap 'echo asked; exit 7' TERM", stop).await, "asked");
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed() {
        let stop = async |mut process: Process| {
            assert_eq!(process.stop(Duration::from_millis(100)).await.unwrap().code(), None);
        };
        assert_eq!(said("trap '' TERM", stop).await, "up");
    }

    #[tokio::test]
    async fn what_is_dropped_is_gone_at_once_also_on_the_way_of_a_panic() {
        let panic = async |process: Process| {
            let pid = process.pid();
            let owner = async move { panic!("a test fails that has {process:?}") };
            tokio::spawn(owner).await.unwrap_err();
            signal(pid, Signal::CONT).unwrap_err();
        };
        assert_eq!(said("trap '' TERM", panic).await, "up");
    }
}
