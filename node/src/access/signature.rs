//! Signed requests: HTTP Message Signatures (RFC 9421) with HMAC-SHA-256.
//!
//! A signature covers the method, where the request goes, when it was made, a nonce, and the digest of the body if there
//! is one; what is not covered could be changed on the way. [`read`] takes headers apart, [`Signed::verify`] compares.
//! No clock and no state: the time is passed in, and whether the nonce was seen is the caller's to find out.

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::auth::Unauthorized;

/// By how much a request's own time may differ from the cluster's, either way.
pub const SKEW_SECONDS: u64 = 60;
/// Bytes of a line that says what is signed.
const INPUT_BYTES_MAX: usize = 1024;
/// Things that one signature covers.
const COMPONENTS_MAX: usize = 16;
const TAG_BYTES: usize = 32;

const INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const CONTENT_DIGEST: &str = "content-digest";

/// A request as a signature sees it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its method.
    pub method: &'a Method,
    /// `https` or `http`, as the client came.
    pub scheme: &'a str,
    /// Whom it was sent to: the target's, else `Host`.
    pub authority: &'a str,
    /// Its path as it came.
    pub path: &'a str,
    /// What stood behind the `?`, if there was one.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whether a body follows.
    pub has_body: bool,
    /// Whether a host name may mean an organisation: then whom it was sent to has to be covered.
    pub host_matters: bool,
}

/// What a request says of its signature. Nothing of it is proven yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    components: Vec<&'a str>,
    /// The list and its parameters, letter by letter: a part of what is signed.
    params: &'a str,
    created: u64,
    expires: Option<u64>,
    /// Used once within twice the skew.
    pub nonce: &'a str,
    /// The key's name.
    pub key: &'a str,
    tag: Vec<u8>,
}

/// Whether a request says that it is signed.
pub fn is_there(headers: &HeaderMap) -> bool {
    headers.contains_key(INPUT) || headers.contains_key(SIGNATURE)
}

/// Reads what a request says of its signature: exactly one, under the same label in both headers.
///
/// # Errors
/// If it is not written as it must be, or leaves out what must be covered.
pub fn read<'a>(headers: &'a HeaderMap) -> Result<Signed<'a>, Unauthorized> {
    let (label, input) = only(headers, &INPUT)?.split_once('=').ok_or(Unauthorized)?;
    let (again, tag) = only(headers, &SIGNATURE)?.split_once('=').ok_or(Unauthorized)?;
    if label != again || input.len() > INPUT_BYTES_MAX {
        return Err(Unauthorized);
    }
    let tag = tag.strip_prefix(':').and_then(|tag| tag.strip_suffix(':')).ok_or(Unauthorized)?;
    let tag = STANDARD.decode(tag).ok().filter(|tag| tag.len() == TAG_BYTES).ok_or(Unauthorized)?;
    let (list, rest) = input.strip_prefix('(').and_then(|input| input.split_once(')')).ok_or(Unauthorized)?;
    let mut components = Vec::new();
    for item in list.split(' ') {
        let name = quoted(item).filter(|name| !components.contains(name)).ok_or(Unauthorized)?;
        if components.len() == COMPONENTS_MAX {
            return Err(Unauthorized);
        }
        components.push(name);
    }
    let (mut created, mut expires, mut nonce, mut key) = (None, None, None, None);
    for parameter in rest.strip_prefix(';').ok_or(Unauthorized)?.split(';') {
        let (name, value) = parameter.split_once('=').ok_or(Unauthorized)?;
        let fresh = match name {
            "created" => created.replace(number(value)?).is_none(),
            "expires" => expires.replace(number(value)?).is_none(),
            "nonce" => nonce.replace(quoted(value).filter(|it| is_nonce(it)).ok_or(Unauthorized)?).is_none(),
            "keyid" => key.replace(quoted(value).ok_or(Unauthorized)?).is_none(),
            "alg" => value == "\"hmac-sha256\"",
            _ => false,
        };
        if !fresh {
            return Err(Unauthorized);
        }
    }
    let (Some(created), Some(nonce), Some(key)) = (created, nonce, key) else { return Err(Unauthorized) };
    Ok(Signed { components, params: input, created, expires, nonce, key, tag })
}

impl Signed<'_> {
    /// Whether this was signed with `key`, in our time, and covers what it must.
    ///
    /// # Errors
    /// If not.
    pub fn verify(&self, message: &Message<'_>, key: &hmac::Key, now_ms: u64) -> Result<(), Unauthorized> {
        let now = now_ms / 1000;
        let stale = self.created.abs_diff(now) > SKEW_SECONDS || self.expires.is_some_and(|at| at <= now);
        let covers = |name: &str| self.components.contains(&name);
        let host = !message.host_matters || covers("@authority");
        let target = covers("@target-uri") || (covers("@path") && covers("@query") && host);
        let body = !message.has_body || covers(CONTENT_DIGEST);
        if stale || !covers("@method") || !target || !body {
            return Err(Unauthorized);
        }
        let base = self.base(message).ok_or(Unauthorized)?;
        hmac::verify(key, base.as_bytes(), &self.tag).map_err(|_| Unauthorized)
    }

    /// Whether the digest of the body is covered: then it must be the body's.
    pub fn covers_body(&self) -> bool {
        self.components.contains(&CONTENT_DIGEST)
    }

    /// The signature base (RFC 9421, section 2.5).
    fn base(&self, message: &Message<'_>) -> Option<String> {
        let mut base = String::with_capacity(256);
        for name in &self.components {
            let value = match *name {
                "@method" => message.method.as_str().to_owned(),
                "@path" => message.path.to_owned(),
                "@query" => format!("?{}", message.query.unwrap_or_default()),
                "@authority" => message.authority.to_ascii_lowercase(),
                "@scheme" => message.scheme.to_owned(),
                "@target-uri" => message.target(),
                name => header(message.headers, name)?,
            };
            base.push_str(&format!("\"{name}\": {value}\n"));
        }
        base.push_str("\"@signature-params\": ");
        base.push_str(self.params);
        Some(base)
    }
}

impl Message<'_> {
    fn target(&self) -> String {
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{}{query}", self.scheme, self.authority.to_ascii_lowercase(), self.path)
    }
}

/// A header's lines as one value; `None` if it is not there, or is no header.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(is_name) {
        return None;
    }
    let lines: Option<Vec<_>> = headers.get_all(name).map(|line| line.to_str().ok().map(str::trim)).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Unauthorized> {
    let mut lines = headers.get_all(name);
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_err(|_| Unauthorized),
        _ => Err(Unauthorized),
    }
}

fn quoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.is_empty() && !inner.contains(['"', '\\'])).then_some(inner)
}

fn number(text: &str) -> Result<u64, Unauthorized> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Unauthorized)
}

fn is_nonce(text: &str) -> bool {
    (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;
    const ALL: &str = r#"("@method" "@authority" "@path" "@query" "content-digest");created=1800000000;nonce="0123456789abcdef";keyid="k1""#;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, b"a secret of more than thirty-two bytes")
    }

    struct Request {
        method: Method,
        authority: &'static str,
        path: &'static str,
        query: Option<&'static str>,
        headers: HeaderMap,
    }

    impl Request {
        fn new(params: &str) -> Self {
            let mut request = Self {
                method: Method::POST,
                authority: "Node.Example",
                path: "/api/relay",
                query: Some("a=b"),
                headers: HeaderMap::new(),
            };
            request.set("content-digest", "sha-256=:x:");
            request.set("signature-input", &format!("sig={params}"));
            let base = format!(
                "\"@method\": POST\n\"@authority\": node.example\n\"@path\": /api/relay\n\"@query\": ?a=b\n\
                 \"content-digest\": sha-256=:x:\n\"@signature-params\": {params}"
            );
            let tag = STANDARD.encode(hmac::sign(&key(), base.as_bytes()));
            request.set("signature", &format!("sig=:{tag}:"));
            request
        }

        fn set(&mut self, name: &'static str, value: &str) {
            self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }

        fn verify(&self, now_ms: u64) -> bool {
            self.verify_where(false, now_ms)
        }

        fn verify_where(&self, host_matters: bool, now_ms: u64) -> bool {
            let message = Message { host_matters, ..self.message() };
            read(&self.headers).and_then(|signed| signed.verify(&message, &key(), now_ms)).is_ok()
        }

        fn message(&self) -> Message<'_> {
            Message {
                method: &self.method,
                scheme: "https",
                authority: self.authority,
                path: self.path,
                query: self.query,
                headers: &self.headers,
                has_body: true,
                host_matters: false,
            }
        }

        /// One that covers this, rightly signed.
        fn signed(params: &str) -> Self {
            let mut request = Self::new(ALL);
            request.set("signature-input", &format!("sig={params}"));
            let base = read(&request.headers).unwrap().base(&request.message()).unwrap();
            let tag = STANDARD.encode(hmac::sign(&key(), base.as_bytes()));
            request.set("signature", &format!("sig=:{tag}:"));
            request
        }
    }

    #[test]
    fn every_covered_part_is_what_was_signed() {
        assert!(Request::new(ALL).verify(NOW_MS));
        let changes: [fn(&mut Request); 6] = [
            |request| request.method = Method::PUT,
            |request| request.authority = "other.example",
            |request| request.path = "/api/relay/",
            |request| request.query = Some("a=c"),
            |request| request.query = None,
            |request| request.set("content-digest", "sha-256=:y:"),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut request = Request::new(ALL);
            change(&mut request);
            assert!(!request.verify(NOW_MS), "change {number}");
        }
        for (said, other) in
            [("created=1800000000", "created=1800000001"), ("0123456789abcdef", "1123456789abcdef")]
        {
            let mut request = Request::new(ALL);
            request.set("signature-input", &format!("sig={}", ALL.replace(said, other)));
            assert!(!request.verify(NOW_MS), "{other}");
        }
    }

    #[test]
    fn a_signature_holds_for_a_minute_either_way() {
        let request = Request::new(ALL);
        assert!(request.verify(NOW_MS + 60_000) && request.verify(NOW_MS - 60_000));
        assert!(!request.verify(NOW_MS + 61_000) && !request.verify(NOW_MS - 61_000));
        let brief = ALL.replace(";nonce", ";expires=1800000010;nonce");
        assert!(Request::new(&brief).verify(NOW_MS + 9_000));
        assert!(!Request::new(&brief).verify(NOW_MS + 10_000));
    }

    #[test]
    fn a_signature_that_leaves_something_out_proves_nothing() {
        for out in [r#""@method" "#, r#""@path" "#, r#" "@query""#, r#" "content-digest""#] {
            assert!(!Request::signed(&ALL.replace(out, "")).verify(NOW_MS), "without {out}");
        }
        assert!(Request::signed(ALL).verify(NOW_MS));
    }

    #[test]
    fn where_a_host_means_an_organisation_it_has_to_be_covered() {
        for (list, is_covered) in [
            (ALL.to_owned(), true),
            (ALL.replace(r#""@path" "@query""#, r#""@target-uri""#).replace(r#" "@authority""#, ""), true),
            (ALL.replace(r#" "@authority""#, ""), false),
        ] {
            let request = Request::signed(&list);
            assert!(request.verify(NOW_MS), "{list}");
            assert_eq!(request.verify_where(true, NOW_MS), is_covered, "{list}");
        }
    }

    #[test]
    fn anything_else_is_no_signature() {
        for (input, signature) in [
            (ALL.to_owned(), "other=:AAAA:"),
            (ALL.to_owned(), "sig=:AAAA:"),
            (ALL.replace(";keyid=\"k1\"", ""), "sig"),
            (ALL.replace("0123456789abcdef", "short"), "sig"),
            (format!("{ALL};created=1800000000"), "sig"),
            (format!("{ALL};alg=\"rsa-v1_5-sha256\""), "sig"),
            (format!("{ALL};tag=\"x\""), "sig"),
            (ALL.replace("\"@path\"", "\"@path\" \"@path\""), "sig"),
            (ALL.replace("\"@path\"", "\"@path\";req"), "sig"),
            (ALL.replace("created=1", "created=+1"), "sig"),
        ] {
            let mut request = Request::new(&input);
            if signature != "sig" {
                request.set("signature", signature);
            }
            assert!(read(&request.headers).is_err(), "{input} {signature}");
        }
    }
}
