//! The lines of an event stream (HTML standard, section 9.2).

use bytes::{BufMut as _, Bytes, BytesMut};

/// What keeps a connection open and is no event.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Events gathered for one write.
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

impl Frames {
    /// Adds an event. `data` is JSON, in which every line's end is escaped.
    pub(crate) fn event(&mut self, name: &str, id: Option<&str>, data: &[u8]) {
        self.field("event", name.as_bytes());
        if let Some(id) = id {
            self.field("id", id.as_bytes());
        }
        // JSON text that came from a client may have line ends between its values.
        for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.field("data", line);
        }
        self.0.put_u8(b'\n');
    }

    /// Says after how many milliseconds a client that lost its stream should open the next.
    pub(crate) fn retry(&mut self, ms: u64) {
        self.field("retry", ms.to_string().as_bytes());
        self.0.put_u8(b'\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.put_u8(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_and_has_no_other() {
        let mut frames = Frames::default();
        assert!(frames.is_empty());
        frames.event("message", Some("1:2"), b"{\"a\":\r\n1}");
        frames.retry(1000);
        let text = String::from_utf8(frames.into_bytes().to_vec()).unwrap();
        assert_eq!(text, "event: message\nid: 1:2\ndata: {\"a\":\ndata: \ndata: 1}\n\nretry: 1000\n\n");
    }
}
