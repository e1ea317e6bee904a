//! `Content-Digest` (RFC 9530): what a body comes to.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_cluster::state::id::Digest;

use super::error::{Code, Error};

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The SHA-256 that the client promises, if it does (RFC 9530, section 2). Other algorithms are not looked at.
pub(crate) fn promised(headers: &HeaderMap) -> Result<Option<Digest>, Error> {
    for line in headers.get_all(CONTENT_DIGEST) {
        let line = line.to_str().map_err(|_| Code::InvalidInput)?;
        for member in line.split(',') {
            if let Some(value) = member.trim().strip_prefix("sha-256=") {
                return sha_256(value).map(Some).ok_or_else(|| Code::InvalidInput.into());
            }
        }
    }
    Ok(None)
}

fn sha_256(value: &str) -> Option<Digest> {
    let text = value.strip_prefix(':')?.strip_suffix(':')?;
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

pub(crate) fn header(digest: &Digest) -> HeaderValue {
    let text = format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()));
    HeaderValue::try_from(text).expect("base64 between colons is a header value")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn promised(header: &str) -> Result<Option<Digest>, Code> {
        let request = TestRequest::default().insert_header((CONTENT_DIGEST, header)).to_http_request();
        super::promised(request.headers()).map_err(|error| error.code)
    }

    #[test]
    fn a_digest_reads_as_it_is_written() {
        let digest = Digest::of(b"hello");
        let header = super::header(&digest);
        assert_eq!(header, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
        assert_eq!(promised(header.to_str().unwrap()), Ok(Some(digest)));
        let among_others = format!("sha-512=:AAAA:, {}", header.to_str().unwrap());
        assert_eq!(promised(&among_others), Ok(Some(digest)));
    }

    #[test]
    fn a_broken_digest_is_refused_and_a_foreign_one_ignored() {
        assert_eq!(promised("sha-512=:AAAA:"), Ok(None));
        for bad in ["sha-256=AAAA", "sha-256=:AAAA:", "sha-256=::", "sha-256=:%:"] {
            assert_eq!(promised(bad), Err(Code::InvalidInput), "{bad}");
        }
    }
}
