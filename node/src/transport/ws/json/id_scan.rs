//! Finds a request's `id` in a text that is not kept, as its bytes come.

use bytestring::ByteString;

use crate::transport::ws::operations::{ID_BYTES_MAX, Id};

/// Follows a JSON text byte by byte and remembers the value of the top-level field `id`. It never fails: of what is no
/// JSON object nothing is found.
#[derive(Debug, Default)]
pub(in crate::transport::ws) struct IdScan {
    begun: bool,
    /// How many objects and arrays are open.
    depth: usize,
    string: Option<Str>,
    /// What the next string at the top level is.
    expected: Expected,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The value that is being read is the id's.
    wanted: bool,
    found: bool,
}

/// A string that is being read.
#[derive(Debug, Default, Clone, Copy)]
struct Str {
    is_key: bool,
    escaped: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expected {
    #[default]
    Key,
    Value,
}

impl IdScan {
    /// Takes the next bytes.
    pub(in crate::transport::ws) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.found {
                return;
            }
            self.step(*byte);
        }
    }

    /// The id as it was spelled: a string or a number of at most [`ID_BYTES_MAX`] bytes.
    pub(in crate::transport::ws) fn id(&self) -> Id {
        if !self.found {
            return None;
        }
        let text = std::str::from_utf8(&self.value).ok()?.trim();
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        (value.is_string() || value.is_number()).then(|| ByteString::from(text.to_owned()))
    }

    fn step(&mut self, byte: u8) {
        if let Some(string) = &mut self.string {
            let ends = byte == b'"' && !string.escaped;
            string.escaped = byte == b'\\' && !string.escaped;
            let is_key = string.is_key;
            if ends {
                self.string = None;
            }
            match (is_key, ends) {
                (true, false) => keep(&mut self.key, byte),
                (true, true) => {}
                (false, _) => self.keep_value(byte),
            }
            return;
        }
        match byte {
            b'"' => {
                let is_key = self.depth == 1 && self.expected == Expected::Key;
                if is_key {
                    self.key.clear();
                } else {
                    self.keep_value(byte);
                }
                self.string = Some(Str { is_key, escaped: false });
            }
            b'{' | b'[' => {
                // Only an object has fields, and only one at the very beginning is a request.
                if !self.begun && byte == b'[' {
                    self.found = true;
                    return;
                }
                self.begun = true;
                self.keep_value(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.found = true;
                } else {
                    self.keep_value(byte);
                }
            }
            b':' if self.depth == 1 => {
                self.expected = Expected::Value;
                self.wanted = self.key == b"id";
            }
            b',' if self.depth == 1 => {
                self.found = self.wanted;
                self.expected = Expected::Key;
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => self.keep_value(byte),
        }
    }

    fn keep_value(&mut self, byte: u8) {
        if self.wanted && self.depth >= 1 {
            keep(&mut self.value, byte);
        }
    }
}

/// What is longer than an id may be becomes no id: one byte too many is enough to tell.
fn keep(bytes: &mut Vec<u8>, byte: u8) {
    if bytes.len() <= ID_BYTES_MAX {
        bytes.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str, step: usize) -> Option<String> {
        let mut scan = IdScan::default();
        text.as_bytes().chunks(step).for_each(|some| scan.feed(some));
        scan.id().map(|id| id.to_string())
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        let data = "x".repeat(300);
        for (text, expected) in [
            (r#"{"id":7,"op":"ping"}"#.to_owned(), Some("7")),
            (format!(r#"{{"data":"{data}","id":"a\"b","op":"publish"}}"#), Some(r#""a\"b""#)),
            (
                r#"{"data":{"id":1,"x":["id",{"id":2}]},"y":"\"id\":3,","id" : -4.5 }"#.to_owned(),
                Some("-4.5"),
            ),
            (r#"{"data":"\\","id":5}"#.to_owned(), Some("5")),
            (r#"{"data":{"id":1}}"#.to_owned(), None),
            (r#"{"id":null}"#.to_owned(), None),
            (r#"{"id":[1]}"#.to_owned(), None),
            (r#"{"id":{"id":1}}"#.to_owned(), None),
            (format!(r#"{{"id":"{data}"}}"#), None),
            (r#"["id",1]"#.to_owned(), None),
            ("id".to_owned(), None),
            (r#"{"id":1x,"op":"ping"}"#.to_owned(), None),
        ] {
            for step in [1, 7, text.len()] {
                assert_eq!(id(&text, step).as_deref(), expected, "{text} by {step}");
            }
        }
    }

    #[test]
    fn an_id_that_was_read_whole_is_known_though_the_text_is_not() {
        assert_eq!(id(r#"{"id":7,"data":"and so on"#, 64).as_deref(), Some("7"));
        assert_eq!(id(r#"{"id":7"#, 64), None, "it may go on");
    }
}
