//! Codings of request bodies (RFC 9110, section 8.4.1): undone under the bound that holds for what comes out.

use std::io::Read;

use actix_web::http::header::{CONTENT_ENCODING, HeaderMap};
use bytes::Bytes;

use super::body::too_large;
use super::error::{Code, Error, Extra};

/// What is taken, as `Accept-Encoding` of a refusal tells (RFC 9110, section 15.5.16).
pub(crate) const TAKEN: &str = "gzip, deflate, br";
/// Bytes that a decoder is fed with at a time.
const PIECE_BYTES: usize = 4096;

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

    /// What a coded body means. It takes no more memory than `bytes_max` and the decoder's window (at most 16 MiB), for as
    /// long as this takes: it does not wait, so that a thread decodes one body at a time.
    ///
    /// # Errors
    /// 413 if it means more than `bytes_max` bytes, 400 if it is not coded so.
    pub(crate) fn undone(self, body: &Bytes, bytes_max: usize) -> Result<Bytes, Error> {
        if body.is_empty() {
            return Ok(Bytes::new());
        }
        let plain = match self {
            Self::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(&body[..]), bytes_max)?,
            Self::Deflate => {
                let mut decoder = flate2::bufread::ZlibDecoder::new(&body[..]);
                let plain = bounded(&mut decoder, bytes_max)?;
                // What stands behind its end belongs to nothing.
                if !decoder.into_inner().is_empty() {
                    return Err(Code::InvalidInput.into());
                }
                plain
            }
            Self::Brotli => bounded(brotli::Decompressor::new(&body[..], PIECE_BYTES), bytes_max)?,
        };
        Ok(plain.into())
    }
}

fn bounded(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    let read = decoder.take(bytes_max as u64 + 1).read_to_end(&mut plain);
    if plain.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    read.map_err(|_| Code::InvalidInput)?;
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

    #[test]
    fn what_is_not_coded_so_is_refused() {
        for coding in ALL {
            let whole = coded(coding, b"hello, hello, hello");
            let cut = whole.slice(..whole.len() - 3);
            for bad in [Bytes::from_static(b"{\"action\":\"poll\"}"), cut] {
                assert_eq!(coding.undone(&bad, 1000).unwrap_err().code, Code::InvalidInput, "{coding:?}");
            }
        }
        for coding in [Coding::Gzip, Coding::Deflate] {
            let more = [&coded(coding, b"hello")[..], b"more"].concat().into();
            assert_eq!(coding.undone(&more, 1000).unwrap_err().code, Code::InvalidInput, "{coding:?}");
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
