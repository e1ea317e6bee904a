//! The reading half of a connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::frame::{Malformed, Parsed, decode, frame_length};
use super::frame_writer::Pulse;
use super::limits::READ_BYTES;

/// Why there are no more frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Cuts a stream of bytes into frames.
pub(super) struct Reader<R> {
    stream: R,
    buffer: BytesMut,
    frame_bytes_max: usize,
    silence_max: Option<Duration>,
    pulse: Arc<Pulse>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// `buffer` is what was read beyond the greeting. With `silence_max`, waiting that long for a byte is an error.
    pub(super) fn new(
        stream: R,
        buffer: BytesMut,
        frame_bytes_max: usize,
        silence_max: Option<Duration>,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self { stream, buffer, frame_bytes_max, silence_max, pulse }
    }

    /// The next frame. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Parsed, ReadError> {
        loop {
            if let Some(parsed) = decode(&mut self.buffer, self.frame_bytes_max)? {
                return Ok(parsed);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        match frame_length(&self.buffer, self.frame_bytes_max)? {
            // The rest of a large frame: room for exactly that, so that it arrives in one piece.
            Some(length) if length > READ_BYTES => self.buffer.reserve(length - self.buffer.len()),
            _ if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 16 => {
                self.buffer.reserve(READ_BYTES)
            }
            _ => {}
        }
        let reading = self.stream.read_buf(&mut self.buffer);
        let read = match self.silence_max {
            Some(silence_max) => timeout(silence_max, reading).await.map_err(io::Error::from)??,
            None => reading.await?,
        };
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.pulse.read.fetch_add(read as u64, Ordering::Relaxed);
        self.pulse.heard.note();
        Ok(())
    }
}
