//! A bounded queue between those who log and the descriptor that takes the lines: a full disk or a stuck terminal
//! costs lines, which are counted, and never a request.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const LINES_MAX: usize = 8192;
/// A longer line is cut here.
const LINE_BYTES_MAX: usize = 16 << 10;
/// For how long the end of the process waits for the last lines.
const FLUSH: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    Stop,
}

/// Where log lines go; cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Keeps the writing thread; dropping it writes what still waits.
pub struct Flush {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> (Self, Flush) {
        let (queue, waiting) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || write(out, &waiting, &counted));
        let flush = Flush { queue: queue.clone(), thread: thread.ok() };
        (Self { queue, lost }, flush)
    }
}

fn write(mut out: impl Write, waiting: &Receiver<Message>, lost: &AtomicU64) {
    loop {
        match waiting.recv_timeout(Duration::from_secs(1)) {
            Ok(Message::Line(line)) => {
                if out.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            metrics::counter!("conclave_log_lines_lost_total").increment(missing);
        }
    }
    let _ = out.flush();
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
        if kept.len() < line.len() {
            kept.extend_from_slice(b"...\n");
        }
        if self.queue.try_send(Message::Line(kept)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let started = Instant::now();
        // The queue may be full, and the writer stuck: neither may keep the process from ending.
        while self.queue.try_send(Message::Stop).is_err() && started.elapsed() < FLUSH {
            std::thread::yield_now();
        }
        while !thread.is_finished() && started.elapsed() < FLUSH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let paper = Paper::default();
        let (mut lines, flush) = Lines::to(paper.clone());
        for _ in 0..100 {
            lines.write_all(b"a line\n").unwrap();
        }
        drop(flush);
        assert_eq!(paper.0.lock().unwrap().len(), 700);
    }

    /// A descriptor that takes nothing while its lock is held.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.0.lock().unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_descriptor_costs_lines_and_not_time() {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let (mut lines, flush) = Lines::to(Stuck(lock.clone()));
        for _ in 0..LINES_MAX * 2 {
            lines.write_all(b"a line\n").unwrap();
        }
        assert!(lines.lost.load(Ordering::Relaxed) >= (LINES_MAX - 1) as u64);
        drop(held);
        drop(flush);
    }
}
