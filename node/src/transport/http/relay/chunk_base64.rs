//! The base64 of chunks, read and written with vector instructions where the processor has them: it is a tenth of what a
//! large chunk costs without.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::PAD;
use bytes::Bytes;
use conclave_cluster::state::transfer::Encoding;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static STANDARD: LazyLock<base64::engine::Simd> = LazyLock::new(|| base64::engine::Simd::standard(PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static STANDARD: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// Canonical base64 is stored as the bytes it spells, a quarter smaller; anything else as it stands. The decoder takes
/// nothing but what the encoder would write, so that the spelling can be had back.
pub(super) fn decode(data: Bytes) -> (Encoding, Bytes) {
    match STANDARD.decode(&data) {
        Ok(bytes) => (Encoding::Base64, Bytes::from(bytes)),
        Err(_) => (Encoding::Text, data),
    }
}

/// Bytes that [`encode`] appends for so many.
pub(super) fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// Appends the base64 of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + encoded_len(bytes.len()), 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room was measured for it");
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn only_canonical_base64_is_stored_as_bytes() {
        for canonical in ["AA==", "AAA=", "AAAA", "+/+/", "AP8="] {
            let (encoding, bytes) = decode(Bytes::from_static(canonical.as_bytes()));
            assert_eq!(encoding, Encoding::Base64, "{canonical}");
            let mut again = Vec::new();
            encode(&bytes, &mut again);
            assert_eq!(again, canonical.as_bytes());
        }
        // Without padding, with stray bits or signs, of another alphabet, or no base64 at all.
        for other in ["AA", "AB==", "AAB=", "AA=", "A", "-_-_", "AAAA\n", " AAAA", "AA==AA==", "hello", "ä"]
        {
            let (encoding, bytes) = decode(Bytes::from_static(other.as_bytes()));
            assert_eq!((encoding, &bytes[..]), (Encoding::Text, other.as_bytes()), "{other}");
        }
    }

    /// At every length around the blocks of vector instructions, and with any one byte wrong.
    #[test]
    fn vector_instructions_change_nothing() {
        let mut rng = SmallRng::seed_from_u64(1);
        for len in (0..160).chain([1000, 33_000]) {
            let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            assert_eq!(text, general_purpose::STANDARD.encode(&bytes).as_bytes());
            assert_eq!(decode(Bytes::from(text.clone())), (Encoding::Base64, Bytes::from(bytes)));
            for _ in 0..40_usize.min(text.len()) {
                let mut wrong = text.clone();
                let place = rng.random_range(0..wrong.len());
                wrong[place] = rng.random();
                let expected = general_purpose::STANDARD.decode(&wrong).ok();
                assert_eq!(STANDARD.decode(&wrong).ok(), expected, "{wrong:?}");
            }
        }
    }
}
