//! Codings of request bodies (RFC 9110, section 8.4.1): undone under the bound that holds for what comes out.

use std::io::Read;

use actix_web::http::header::{CONTENT_ENCODING, HeaderMap};
use brotli::Allocator;
use brotli::reader::DecompressorCustomAlloc;
use bytes::Bytes;

use super::body::too_large;
use super::brotli_memory::BrotliMemory;
use super::error::{Code, Error, Extra};

/// What is taken, as `Accept-Encoding` of a refusal tells (RFC 9110, section 15.5.16).
pub(crate) const TAKEN: &str = "gzip, deflate, br";
/// Bytes of a line that names a coding; nothing longer names one alone.
const NAMES_BYTES_MAX: usize = 64;
/// Bytes that a decoder is fed with at a time.
const PIECE_BYTES: usize = 4096;
/// The bits of a brotli stream that say that its window is large, which is none of the windows of RFC 7932, section 9.1.
const LARGE_WINDOW: u8 = 0x11;
/// In its first byte.
const WINDOW_BITS_MASK: u8 = 0x7f;

type BrotliDecoder<'a> = DecompressorCustomAlloc<
    &'a [u8],
    <BrotliMemory as Allocator<u8>>::AllocatedMemory,
    BrotliMemory,
    BrotliMemory,
    BrotliMemory,
>;

/// How a request's body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// `None`: it is as it is.
    ///
    /// # Errors
    /// 415 for another coding, and for several, one around the other.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let refused = || Error::from(Code::UnsupportedMediaType).with(Extra::Codings(TAKEN));
        let mut coding = None;
        for line in headers.get_all(CONTENT_ENCODING) {
            if line.len() > NAMES_BYTES_MAX {
                return Err(refused());
            }
            for name in line.to_str().map_err(|_| refused())?.split(',').map(str::trim) {
                let found = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    _ => return Err(refused()),
                };
                if coding.replace(found).is_some() {
                    return Err(refused());
                }
            }
        }
        Ok(coding)
    }

    /// What a coded body means. It takes no more memory than a few times `bytes_max`, whatever window the body asks for, and
    /// that for as long as this takes: it does not wait, so that a thread decodes one body at a time.
    ///
    /// # Errors
    /// 413 if it means more than `bytes_max` bytes, 400 if it is not coded so.
    pub(crate) fn undone(self, body: &Bytes, bytes_max: usize) -> Result<Bytes, Error> {
        if body.is_empty() {
            return Ok(Bytes::new());
        }
        let plain = match self {
            // One member: several (RFC 1952, section 2.2) are one body of many streams, each of which costs as much as a body.
            Self::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(&body[..]);
                let plain = bounded(&mut decoder, bytes_max)?;
                nothing_behind(decoder.into_inner())?;
                plain
            }
            Self::Deflate => {
                let mut decoder = flate2::bufread::ZlibDecoder::new(&body[..]);
                let plain = bounded(&mut decoder, bytes_max)?;
                nothing_behind(decoder.into_inner())?;
                plain
            }
            Self::Brotli => unbrotlied(body, bytes_max)?,
        };
        Ok(plain.into())
    }
}

/// The decoder would take streams with a window of up to 1 GiB, and allocates what they announce.
fn unbrotlied(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    if body.first().is_some_and(|first| first & WINDOW_BITS_MASK == LARGE_WINDOW) {
        return Err(Code::InvalidCoding.into());
    }
    let memory = BrotliMemory::for_plain(bytes_max);
    let mut decoder = brotli_decoder(body, &memory);
    let plain = bounded(&mut decoder, bytes_max);
    // What is within the bound would have had enough.
    if memory.is_exhausted() {
        return Err(too_large(bytes_max));
    }
    // Behind the end, the decoder fails if it holds something that it did not need.
    let behind = decoder.read(&mut [0]);
    nothing_behind(decoder.get_ref())?;
    behind.map_err(|_| Code::InvalidCoding)?;
    plain
}

fn brotli_decoder<'a>(body: &'a [u8], memory: &BrotliMemory) -> BrotliDecoder<'a> {
    let [mut bytes, numbers, codes] = std::array::from_fn(|_| memory.clone());
    let piece = bytes.alloc_cell(PIECE_BYTES);
    DecompressorCustomAlloc::new(body, piece, bytes, numbers, codes)
}

/// What stands behind the end of a stream belongs to nothing.
fn nothing_behind(rest: &[u8]) -> Result<(), Error> {
    if rest.is_empty() { Ok(()) } else { Err(Code::InvalidCoding.into()) }
}

fn bounded(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    let read = decoder.take(bytes_max as u64 + 1).read_to_end(&mut plain);
    if plain.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    read.map_err(|_| Code::InvalidCoding)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use actix_web::http::header::HeaderValue;

    use super::*;

    fn coded(coding: Coding, plain: &[u8]) -> Bytes {
        let level = flate2::Compression::default();
        let coded = match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap()
            }
            Coding::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
                encoder.write_all(plain).unwrap();
                encoder.into_inner()
            }
        };
        coded.into()
    }

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Brotli];

    #[test]
    fn a_long_list_of_codings_is_refused_unread() {
        let of = |value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::try_from(value).unwrap());
            Coding::of(&headers).map_err(|error| error.code)
        };
        assert_eq!(of(format!("gzip{}", ",".repeat(60))), Ok(Some(Coding::Gzip)));
        assert_eq!(of(format!("gzip{}", ",".repeat(61))), Err(Code::UnsupportedMediaType));
    }

    #[test]
    fn what_was_coded_is_undone_under_its_bound() {
        for coding in ALL {
            let body = coded(coding, b"hello");
            assert_eq!(coding.undone(&body, 5).unwrap(), "hello", "{coding:?}");
            let error = coding.undone(&body, 4).unwrap_err();
            assert_eq!((error.code, error.extra), (Code::PayloadTooLarge, Extra::Limit(4)), "{coding:?}");
            assert_eq!(coding.undone(&Bytes::new(), 4).unwrap(), "");
        }
    }

    #[test]
    fn a_bomb_is_too_large_and_is_not_unpacked() {
        let plain = vec![0; 64 << 20];
        for coding in ALL {
            let bomb = coded(coding, &plain);
            assert!(bomb.len() < 128 << 10, "{coding:?}: {}", bomb.len());
            assert_eq!(coding.undone(&bomb, 1000).unwrap_err().code, Code::PayloadTooLarge, "{coding:?}");
        }
    }

    /// A stream that says that 16 MiB follow under a window as large.
    const WIDE: &[u8] = &[0x9f, 0xef, 0xff, 0xff, 0x00, 0x24, 0x00, 0xe2, 0xb1, 0x40, 0x52, 0xef, 0xff, 0x01];

    #[test]
    fn a_window_larger_than_the_bound_is_not_allocated() {
        let wide = Bytes::from_static(WIDE);
        assert_eq!(Coding::Brotli.undone(&wide, 16 << 20).unwrap().len(), (16 << 20) - 16);
        let error = Coding::Brotli.undone(&wide, 1000).unwrap_err();
        assert_eq!((error.code, error.extra), (Code::PayloadTooLarge, Extra::Limit(1000)));
        let memory = BrotliMemory::for_plain(1000);
        let mut decoder = brotli_decoder(WIDE, &memory);
        assert!(decoder.read(&mut [0; 16]).is_err() && memory.is_exhausted(), "before a byte comes out");
    }

    #[test]
    fn what_fits_its_bound_has_memory_enough() {
        // Every window that an encoder may ask for, and lengths around a power of two.
        let noise: Vec<u8> = (0u32..300_000).map(|at| (at.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
        for len in [1, 31, 33, 1023, 1025, 65_535, 65_537, 262_143, 262_145, 300_000] {
            for (quality, window_log) in [(0, 10), (5, 24), (9, 16)] {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, quality, window_log);
                // Pieces make meta-blocks, between which the window grows.
                for piece in noise[..len].chunks(len.div_ceil(7)) {
                    encoder.write_all(piece).unwrap();
                    encoder.flush().unwrap();
                }
                let body = Bytes::from(encoder.into_inner());
                assert!(
                    Coding::Brotli.undone(&body, len).unwrap() == noise[..len],
                    "{len} {quality} {window_log}"
                );
            }
        }
    }

    #[test]
    fn a_large_window_is_no_brotli() {
        // 64 KiB of zeros, as an encoder makes it for a window of 30 bits. The decoder would take it.
        const LARGE: &[u8] =
            &[0x11, 0x5e, 0xfc, 0xff, 0x03, 0x90, 0x00, 0x88, 0xc7, 0x02, 0x21, 0xf7, 0x1e, 0x00];
        for first in [LARGE[0], LARGE[0] | 0x80] {
            let mut large = LARGE.to_vec();
            large[0] = first;
            let error = Coding::Brotli.undone(&large.into(), 1 << 20).unwrap_err();
            assert_eq!(error.code, Code::InvalidCoding, "{first:x}");
        }
    }

    #[test]
    fn one_gzip_member_is_taken() {
        let one = coded(Coding::Gzip, b"hello");
        let two = [&one[..], &coded(Coding::Gzip, b"")].concat().into();
        assert_eq!(Coding::Gzip.undone(&one, 1000).unwrap(), "hello");
        assert_eq!(Coding::Gzip.undone(&two, 1000).unwrap_err().code, Code::InvalidCoding);
    }

    #[test]
    fn what_is_not_coded_so_is_refused() {
        for coding in ALL {
            let whole = coded(coding, b"hello, hello, hello");
            let cut = whole.slice(..whole.len() - 3);
            for bad in [Bytes::from_static(b"{\"action\":\"poll\"}"), cut] {
                assert_eq!(coding.undone(&bad, 1000).unwrap_err().code, Code::InvalidCoding, "{coding:?}");
            }
        }
        for coding in ALL {
            let more = [&coded(coding, b"hello")[..], b"more"].concat().into();
            assert_eq!(coding.undone(&more, 1000).unwrap_err().code, Code::InvalidCoding, "{coding:?}");
        }
    }

    #[test]
    fn one_coding_at_a_time_is_taken() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of(&headers).map_err(|error| error.code)
        };
        for (name, coding) in [
            ("GZip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
        ] {
            assert_eq!(of(&[name]), Ok(Some(coding)), "{name}");
        }
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&[]), Ok(None));
        for bad in [&["zstd"][..], &["gzip, br"], &["gzip", "gzip"], &["compress"], &["gzip;q=1"]] {
            assert_eq!(of(bad), Err(Code::UnsupportedMediaType), "{bad:?}");
        }
    }
}
