//! Bytes that can be verified without remembering them.
//!
//! A chunk's text is a function of (seed, transfer, index, length): a short head that names the chunk, followed by a
//! window of a pool of random base64 text. Making it is a copy and checking it is a comparison, so that the
//! generator, which shares its cores with the servers, stays cheap; the head makes every chunk unlike any other.

use std::sync::Arc;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Longest text that can be made.
pub const LENGTH_MAX: usize = 65_536;
const POOL_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 20;

/// A source of verifiable text; clones share their pool.
#[derive(Debug, Clone)]
pub struct Content {
    seed: u64,
    pool: Arc<[u8]>,
}

impl Content {
    /// The source that `seed` names; equal seeds make equal bytes.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut pool = Vec::with_capacity(POOL_BYTES + 10);
        while pool.len() < POOL_BYTES {
            push_base64(split_mix(&mut state), 10, &mut pool);
        }
        pool.truncate(POOL_BYTES);
        Self { seed, pool: pool.into() }
    }

    /// Appends the text of one chunk. With a length divisible by four it is canonical base64.
    ///
    /// # Panics
    /// If `length` is above [`LENGTH_MAX`].
    pub fn write(&self, transfer: u64, index: u32, length: usize, out: &mut Vec<u8>) {
        let rest = self.begin(transfer, index, length, out);
        out.extend_from_slice(rest);
    }

    /// Appends the beginning of the same text, and returns its rest, which thousands who send at once need not copy.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn begin(&self, transfer: u64, index: u32, length: usize, out: &mut Vec<u8>) -> &[u8] {
        let (head, window) = self.parts(transfer, index, length);
        out.extend_from_slice(&head[..length.min(HEAD_BYTES)]);
        window
    }

    /// Compares every byte of a received chunk; `Err` holds the first differing position.
    pub fn verify(&self, transfer: u64, index: u32, length: usize, text: &[u8]) -> Result<(), usize> {
        let (head, window) = self.parts(transfer, index, length);
        let head = &head[..length.min(HEAD_BYTES)];
        if text.len() == length && text.starts_with(head) && &text[head.len()..] == window {
            return Ok(());
        }
        let expected = head.iter().chain(window);
        Err(expected.zip(text).take_while(|(a, b)| a == b).count())
    }

    fn parts(&self, transfer: u64, index: u32, length: usize) -> ([u8; HEAD_BYTES], &[u8]) {
        assert!(length <= LENGTH_MAX, "chunks of more than {LENGTH_MAX} bytes are not made");
        let mut state = mix(self.seed ^ mix(transfer.wrapping_add(1)) ^ mix(u64::from(index) << 32 | 0x5eed));
        let mut head = Vec::with_capacity(HEAD_BYTES);
        push_base64(split_mix(&mut state), 10, &mut head);
        push_base64(split_mix(&mut state), 10, &mut head);
        let rest = length.saturating_sub(HEAD_BYTES);
        let start = (split_mix(&mut state) % (POOL_BYTES - LENGTH_MAX) as u64) as usize;
        (head.try_into().expect("two words of ten letters each"), &self.pool[start..start + rest])
    }
}

fn push_base64(mut word: u64, letters: usize, out: &mut Vec<u8>) {
    for _ in 0..letters {
        out.push(ALPHABET[(word & 63) as usize]);
        word >>= 6;
    }
}

/// Mixes a number so that neighbours have nothing in common (the finalizer of SplitMix64).
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn text(content: &Content, transfer: u64, index: u32, length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        content.write(transfer, index, length, &mut out);
        out
    }

    #[test]
    fn what_is_written_verifies_under_another_instance_of_the_seed() {
        let (here, there) = (Content::new(7), Content::new(7));
        for length in [1, 4, 19, 20, 21, 256, 44_000, LENGTH_MAX] {
            let made = text(&here, 3, 9, length);
            assert_eq!(made.len(), length);
            assert_eq!(there.verify(3, 9, length, &made), Ok(()));
        }
    }

    #[test]
    fn a_single_changed_byte_is_found_where_it_is() {
        let content = Content::new(7);
        for at in [0, 19, 20, 255] {
            let mut made = text(&content, 1, 2, 256);
            made[at] ^= 1;
            assert_eq!(content.verify(1, 2, 256, &made), Err(at));
        }
    }

    #[test]
    fn a_lost_or_added_byte_is_found() {
        let content = Content::new(7);
        let mut made = text(&content, 1, 2, 256);
        made.push(b'A');
        assert_eq!(content.verify(1, 2, 256, &made), Err(256));
        made.truncate(255);
        assert_eq!(content.verify(1, 2, 256, &made), Err(255));
    }

    #[test]
    fn another_transfer_index_or_seed_does_not_verify() {
        let content = Content::new(7);
        let made = text(&content, 1, 2, 256);
        assert!(content.verify(2, 2, 256, &made).is_err());
        assert!(content.verify(1, 3, 256, &made).is_err());
        assert!(Content::new(8).verify(1, 2, 256, &made).is_err());
    }

    #[test]
    fn chunks_are_canonical_base64_and_all_different() {
        let content = Content::new(1);
        let mut seen = HashSet::new();
        for transfer in 0..40 {
            for index in 0..40 {
                let made = text(&content, transfer, index, 256);
                assert_eq!(STANDARD.encode(STANDARD.decode(&made).unwrap()).into_bytes(), made);
                assert!(seen.insert(made));
            }
        }
    }
}
