//! The contract's words: what replies say, and texts that are known by a number.

use serde::Deserialize;

use crate::client::{Envelope, Reply};
use crate::content::mix;
use crate::proof::history::Answer;

/// Every field that any reply has; most are absent in each.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Words {
    pub(super) error: Option<String>,
    pub(super) status: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) envelope: Option<Envelope>,
    pub(super) peer_id: Option<String>,
    pub(super) messages: Option<Vec<Message>>,
    pub(super) chunk: Option<Chunk>,
    pub(super) ok: bool,
    pub(super) duplicate: bool,
    pub(super) transfer_id: Option<String>,
    pub(super) total_chunks: Option<u16>,
    /// Inclusive ranges.
    pub(super) received: Option<Vec<(u16, u16)>>,
    pub(super) delivered: Option<u16>,
    pub(super) acknowledged: Option<bool>,
}

/// A polled signal.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) from: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) payload: serde_json::Value,
}

/// A received chunk.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk {
    pub(super) chunk_index: u16,
    pub(super) total_chunks: u16,
    pub(super) data: String,
}

impl Words {
    /// What a reply says; nothing if that is no JSON.
    pub(super) fn of(reply: &Reply) -> Self {
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    pub(super) fn error(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }

    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or_default()
    }
}

/// A reply that the contract does not know.
pub(super) fn wrong(reply: &Reply) -> Answer {
    let body = String::from_utf8_lossy(&reply.body);
    let shown: String = body.chars().take(200).collect();
    Answer::Wrong(format!("{} {shown}", reply.status).into())
}

/// Sixteen digits that say a number.
pub(super) fn digits(number: u64) -> String {
    format!("{number:016x}")
}

/// Text that says a number and can be told from any other, in every letter.
pub(super) fn text(number: u64) -> String {
    digits(number) + &digits(mix(number)) + &digits(mix(mix(number)))
}

/// The number of a text; `None` if a letter is not as it was written.
pub(super) fn number(told: &str) -> Option<u64> {
    let number = u64::from_str_radix(told.get(..16)?, 16).ok()?;
    (text(number) == told).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_by_its_number_and_by_every_letter() {
        let told = text(7);
        assert_eq!(number(&told), Some(7));
        for place in 0..told.len() {
            let mut other = told.clone();
            other.replace_range(place..=place, "g");
            assert_eq!(number(&other), None);
        }
        assert_eq!(number(""), None);
    }
}
