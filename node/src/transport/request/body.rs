//! Request bodies: read once, bounded while they are read.

use std::pin::pin;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{HttpMessage as _, HttpRequest};
use bytes::{Bytes, BytesMut};
use conclave_cluster::state::id::Digest;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use serde::Deserialize;

use super::body_decoding::Coding;
use super::digest;
use super::error::{Code, Error, Extra};
use super::signed::Promised;
use crate::admission::client_identity::Client;
use crate::admission::share::Refused;
use crate::listener::{BODY_ARRIVAL_MAX, BodyGate, LARGE};

/// Reads a body of at most `bytes_max` bytes. While it is read it is held on the account of `client`.
pub(crate) async fn read<S>(
    request: &HttpRequest,
    client: Client,
    payload: S,
    bytes_max: usize,
) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let coding = Coding::of(request.headers())?;
    let announced = announced(request, bytes_max)?;
    let_in(request);
    // Bodies that came with their heads are not worth counting.
    let hold = |bytes| match request.conn_data::<BodyGate>() {
        Some(body_gate) if bytes >= LARGE => body_gate.buffers().set_body(client, bytes),
        Some(_) | None => Ok(()),
    };
    let body = within(BODY_ARRIVAL_MAX, gather(payload, announced, bytes_max, hold)).await?;
    // What was signed is the digest; that it is this body's digest shows only now.
    if request.extensions().get::<Promised>().is_some_and(|Promised(promised)| *promised != Digest::of(&body))
    {
        return Err(Code::Unauthorized.into());
    }
    let Some(coding) = coding else { return Ok(body) };
    // A content's digest is of it as it is sent (RFC 9530, section 2).
    if digest::promised(request.headers())?.is_some_and(|promised| promised != Digest::of(&body)) {
        return Err(Code::DigestMismatch.into());
    }
    let decoded = coding.undone(&body, bytes_max)?;
    hold(decoded.len())?;
    Ok(decoded)
}

/// Parts of so many bytes are worth not to be copied.
const SLICED: usize = 32 << 10;

/// A part of `buffer` to be stored. A slice keeps its whole buffer, in the log's cache for much longer than the request lasts:
/// it is one only where that is little more than the part.
pub(crate) fn kept(buffer: &Bytes, part: &[u8]) -> Bytes {
    if part.len() >= SLICED && part.len() >= buffer.len() / 2 {
        buffer.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

/// The digest that a body must come to once it is read: that of a coded one was looked at while it was.
pub(crate) fn promised(request: &HttpRequest) -> Result<Option<Digest>, Error> {
    let coded = Coding::of(request.headers())?.is_some();
    Ok(digest::promised(request.headers())?.filter(|_| !coded))
}

/// The length that a request announces, if it is allowed.
pub(crate) fn announced(request: &HttpRequest, bytes_max: usize) -> Result<Option<usize>, Error> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match announced {
        Some(len) if len > bytes_max => Err(too_large(bytes_max)),
        announced => Ok(announced),
    }
}

/// Reads a body of at most `bytes_max` bytes and keeps nothing of it: a connection whose request was not read cannot
/// be used again.
pub(crate) async fn discard<S>(request: &HttpRequest, mut payload: S, bytes_max: usize) -> Result<(), Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let_in(request);
    let all = async move {
        let mut read = 0;
        while let Some(part) = payload.next().await {
            read += part.map_err(broken)?.len();
            if read > bytes_max {
                return Err(too_large(bytes_max));
            }
        }
        Ok(Bytes::new())
    };
    within(BODY_ARRIVAL_MAX, all).await.map(drop)
}

/// Lets the connection hand on the request's body: a large one waits until it is wanted.
fn let_in(request: &HttpRequest) {
    if let Some(body_gate) = request.conn_data::<BodyGate>() {
        body_gate.open();
    }
}

async fn within(time: Duration, body: impl Future<Output = Result<Bytes, Error>>) -> Result<Bytes, Error> {
    let mut body = pin!(body);
    // Most bodies are here already; a timer is armed only for the others.
    match body.as_mut().now_or_never() {
        Some(body) => body,
        None => match tokio::time::timeout(time, body).await {
            Ok(body) => body,
            Err(_) => Err(Code::RequestTimeout.into()),
        },
    }
}

/// `hold` is told how many bytes there are so far, and refuses them if there is no room.
async fn gather<S>(
    mut payload: S,
    announced: Option<usize>,
    bytes_max: usize,
    hold: impl Fn(usize) -> Result<(), Refused>,
) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(broken)?;
    if first.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let Some(mut next) = payload.next().await else { return Ok(first) };
    let mut body = BytesMut::with_capacity(announced.unwrap_or(2 * first.len()).min(bytes_max));
    body.extend_from_slice(&first);
    loop {
        let part = next.map_err(broken)?;
        if body.len() + part.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        hold(body.len() + part.len())?;
        body.extend_from_slice(&part);
        next = match payload.next().await {
            Some(next) => next,
            None => return Ok(body.freeze()),
        };
    }
}

/// Refuses what says that it is something else than JSON.
pub(crate) fn expect_json(request: &HttpRequest) -> Result<(), Error> {
    let named = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if named.is_some_and(|named| !may_be_json(named)) {
        return Err(Code::UnsupportedMediaType.into());
    }
    Ok(())
}

/// Existing clients send JSON under several names, or none; what is clearly something else is refused.
fn may_be_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty()
        || essence == "application/json"
        || essence.starts_with("text/")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Parses a JSON object; any other JSON is refused too.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    // A parser may pass over a byte order mark (RFC 8259, section 8.1), and some senders write one.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // A derived struct would also take an array, field by field.
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    if first != Some(&b'{') {
        return Err(Code::InvalidJson.into());
    }
    serde_json::from_slice(body).map_err(|_| Code::InvalidJson.into())
}

pub(crate) fn too_large(bytes_max: usize) -> Error {
    Error::from(Code::PayloadTooLarge).with(Extra::Limit(bytes_max))
}

/// The client broke off, or broke the rules of its own encoding; nobody is likely to read the answer.
fn broken(_: PayloadError) -> Error {
    Code::InvalidInput.into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures_util::stream;

    use super::*;

    type Part = Result<Bytes, PayloadError>;

    async fn gathered(parts: &'static [&'static str], bytes_max: usize) -> Result<Bytes, Code> {
        let parts = parts.iter().map(|part| -> Part { Ok(Bytes::from_static(part.as_bytes())) });
        gather(stream::iter(parts), None, bytes_max, |_| Ok(())).await.map_err(|error| error.code)
    }

    #[actix_web::test]
    async fn a_body_is_what_its_parts_are() {
        assert_eq!(gathered(&[], 4).await, Ok(Bytes::new()));
        assert_eq!(gathered(&["abcd"], 4).await, Ok(Bytes::from_static(b"abcd")));
        assert_eq!(gathered(&["ab", "c", "d"], 4).await, Ok(Bytes::from_static(b"abcd")));
    }

    #[actix_web::test]
    async fn the_bound_holds_while_reading() {
        assert_eq!(gathered(&["abcde"], 4).await, Err(Code::PayloadTooLarge));
        assert_eq!(gathered(&["abc", "de"], 4).await, Err(Code::PayloadTooLarge));
    }

    #[actix_web::test]
    async fn a_body_for_which_there_is_no_room_is_refused() {
        let parts = || ["ab", "c", "d"].map(|part| Ok(Bytes::from_static(part.as_bytes())));
        for (refused, code) in [(Refused::All, Code::Overloaded), (Refused::Client, Code::RateLimitExceeded)]
        {
            let hold = |bytes| if bytes < 4 { Ok(()) } else { Err(refused) };
            let error = gather(stream::iter(parts()), None, 9, hold).await.unwrap_err();
            assert_eq!(error.code, code);
        }
    }

    #[actix_web::test]
    async fn an_announced_length_is_refused_unread() {
        let request = TestRequest::default().insert_header((CONTENT_LENGTH, "5")).to_http_request();
        let never = stream::pending::<Part>();
        let error = read(&request, Client::V4(1), never, 4).await.unwrap_err();
        assert_eq!((error.code, error.extra), (Code::PayloadTooLarge, Extra::Limit(4)));
    }

    #[actix_web::test]
    async fn what_is_thrown_away_is_bounded_as_well() {
        let parts = |parts: &'static [&'static str]| {
            stream::iter(parts.iter().map(|part| -> Part { Ok(Bytes::from_static(part.as_bytes())) }))
        };
        let request = TestRequest::default().to_http_request();
        assert!(discard(&request, parts(&["ab", "cd"]), 4).await.is_ok());
        let error = discard(&request, parts(&["ab", "cd", "e"]), 4).await.unwrap_err();
        assert_eq!(error.code, Code::PayloadTooLarge);
    }

    #[actix_web::test]
    async fn a_body_that_never_comes_is_given_up() {
        let never = gather(stream::pending::<Part>(), None, 4, |_| Ok(()));
        let error = within(Duration::from_millis(1), never).await.unwrap_err();
        assert_eq!(error.code, Code::RequestTimeout);
    }

    #[test]
    fn what_is_stored_keeps_no_buffer_that_is_much_larger() {
        let buffer = Bytes::from(vec![7; 100_000]);
        let is_slice = |part: &[u8]| {
            let kept = kept(&buffer, part);
            assert_eq!(kept, part);
            kept.as_ptr() == part.as_ptr()
        };
        assert!(is_slice(&buffer) && is_slice(&buffer[50_000..]));
        assert!(!is_slice(&buffer[..1]) && !is_slice(&buffer[..40_000]));
        assert!(!is_slice(&buffer[..0]));
    }

    #[test]
    fn only_objects_are_requests() {
        #[derive(Deserialize, Debug)]
        struct Request {
            #[serde(default)]
            _a: u8,
        }
        assert!(parse::<Request>(b" {\"b\":1}").is_ok());
        assert!(parse::<Request>("\u{feff}{\"b\":1}".as_bytes()).is_ok());
        for bad in ["", "[]", "[1]", "1", "null", "{", "{\"a\":1}x", "\"{\"", "{\"a\":'1'}"] {
            assert_eq!(parse::<Request>(bad.as_bytes()).unwrap_err().code, Code::InvalidJson, "{bad}");
        }
    }

    #[test]
    fn content_types_are_taken_generously() {
        for good in
            ["application/json", "application/json; charset=utf-8", "text/plain", "application/a+json", ""]
        {
            assert!(may_be_json(good), "{good}");
        }
        for bad in ["multipart/form-data; boundary=x", "application/octet-stream", "image/png"] {
            assert!(!may_be_json(bad), "{bad}");
        }
    }
}
