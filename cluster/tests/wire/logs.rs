//! What was logged.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

/// The lines logged by this thread, at `info` and above, while the guard lives.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Begins to listen. For tests on a single-threaded runtime.
    pub fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        // What is logged somewhere for the first time while nobody listens on that thread would be taken for something that
        // nobody wants, on this thread as well. So there is always somebody who wants it.
        static ALWAYS: std::sync::Once = std::sync::Once::new();
        ALWAYS.call_once(|| {
            let all = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(io::sink);
            tracing::subscriber::set_global_default(all.finish()).expect("nobody else sets one");
        });
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines contain `words`.
    pub fn count(&self, words: &str) -> usize {
        self.count_both(words, "")
    }

    /// How many lines contain `words` and `more`.
    pub fn count_both(&self, words: &str, more: &str) -> usize {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| line.contains(words) && line.contains(more)).count()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
