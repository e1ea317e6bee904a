//! The refusal of a large body that there is no time for, written without the server.
//!
//! Under an overload it is what most requests come to, and what each of them costs is missing from those that are carried
//! out. So it is made of what never changes, and as the [`gate`] would make it, but for `Date`, which errors of
//! ours need not have (RFC 9110, section 6.6.1). A request that asks for more than that is left to the server.

use actix_web::body::MessageBody as _;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use tokio::time::Instant;

use super::cors::Verdict;
use super::error::Code;
use super::guard::Dress;
use super::options::Origins;
use super::path;
use super::routes::Route;
use super::shared::Shared;
use super::{gate, request_id};

/// Stands where the request's id goes.
const ID: &str = "REQUEST-ID";

/// What is always the same.
#[derive(Debug)]
pub(super) struct Brief {
    relay: Text,
    other: Text,
}

/// An answer, without its length and its request's id.
#[derive(Debug)]
struct Text {
    head: String,
    /// The body, before and after the id.
    body: (String, String),
}

/// A request that needs nothing but to be refused.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: Method,
    path: &'a str,
    id: Option<&'a str>,
}

impl Brief {
    pub(super) fn new(dress: &Dress, origins: &Origins) -> Self {
        Self {
            relay: Text::new(Route::Relay, dress, origins),
            other: Text::new(Route::Other, dress, origins),
        }
    }

    /// The answer to this head, if it can be given here.
    pub(super) fn refuse(&self, shared: &Shared, head: &[u8], secured: bool) -> Option<Vec<u8>> {
        let (began, options) = (Instant::now(), &shared.options);
        let request = Request::of(head)?;
        let special = shared.is_draining()
            || (options.tls_required && !secured)
            || options.deprecated.iter().any(|one| one.covers(request.path));
        if special {
            return None;
        }
        let normal = path::normal(request.path).ok()?;
        let found = shared.router.find(&normal, &HeaderMap::new());
        let route = found.map_or(Route::Other, |found| found.row.name);
        let fresh;
        let id = match request.id {
            Some(id) => id,
            None => {
                fresh = request_id::fresh().to_string();
                &fresh
            }
        };
        let text = if route == Route::Relay { &self.relay } else { &self.other };
        let answer = text.with(id);
        shared.metrics.failed(Code::Overloaded);
        shared.metrics.answered(route, &request.method, StatusCode::SERVICE_UNAVAILABLE, began.elapsed());
        tracing::debug!(request_id = id, route = route.template(), status = 503, "request answered");
        Some(answer)
    }
}

impl Text {
    fn new(route: Route, dress: &Dress, origins: &Origins) -> Self {
        let mut response = gate::overloaded(route).render(ID, false);
        let headers = response.headers_mut();
        dress.put_on(headers);
        Verdict::None.write(headers, origins, false);
        let status = response.status();
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in response.headers() {
            let value = value.to_str().expect("what we write ourselves is visible ASCII");
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("content-length: ");
        let body = response.into_body().try_into_bytes().expect("errors are written in one piece");
        let body = str::from_utf8(&body).expect("it is JSON");
        let (before, after) = body.split_once(ID).expect("each error names its request");
        Self { head, body: (before.to_owned(), after.to_owned()) }
    }

    fn with(&self, id: &str) -> Vec<u8> {
        let Self { head, body: (before, after) } = self;
        let length = (before.len() + id.len() + after.len()).to_string();
        let parts: [&[u8]; 8] = [
            head.as_bytes(),
            length.as_bytes(),
            b"\r\nx-request-id: ",
            id.as_bytes(),
            b"\r\n\r\n",
            before.as_bytes(),
            id.as_bytes(),
            after.as_bytes(),
        ];
        parts.concat()
    }
}

impl<'a> Request<'a> {
    /// `None` if its answer would have to say more. The head is in order otherwise; that was looked at before.
    fn of(head: &'a [u8]) -> Option<Self> {
        let mut lines = str::from_utf8(head).ok()?.split("\r\n");
        let mut request = lines.next()?.split(' ');
        let method = match request.next()? {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => return None,
        };
        let path =
            request.next()?.split('?').next().filter(|path| path.starts_with('/') && !path.contains('%'))?;
        if request.next()? != "HTTP/1.1" {
            return None;
        }
        let mut id = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let (is, value) = (|known: &str| name.eq_ignore_ascii_case(known), value.trim_ascii());
            if is("x-request-id") && id.is_none() {
                id = Some(value);
            }
            // For a page the answer says more, a problem document has another body, and the server closes the connection.
            let special = is("origin")
                || (is("accept") && value.to_ascii_lowercase().contains("problem"))
                || (is("connection") && !value.eq_ignore_ascii_case("keep-alive"));
            if special {
                return None;
            }
        }
        Some(Self { method, path, id: id.filter(|id| request_id::is_valid(id.as_bytes())) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    fn request(more: &str) -> Option<(String, Option<String>)> {
        let head = format!("POST /api/relay?x=1 HTTP/1.1\r\nHost: a\r\n{more}Content-Length: 44000\r\n\r\n");
        Request::of(head.as_bytes()).map(|found| (found.path.to_owned(), found.id.map(str::to_owned)))
    }

    #[test]
    fn whatever_asks_for_more_than_a_refusal_is_left_to_the_server() {
        let path = "/api/relay".to_owned();
        assert_eq!(request(""), Some((path.clone(), None)));
        let id = "X-Request-ID:  a-1 \r\nConnection: Keep-Alive\r\naccept: */*\r\nx-request-id: b\r\n";
        assert_eq!(request(id), Some((path.clone(), Some("a-1".into()))));
        assert_eq!(request("x-request-id: \"\r\n"), Some((path, None)), "what is no id gets another");
        for more in ["Origin: https://a\r\n", "Accept: application/problem+json\r\n", "connection: close\r\n"]
        {
            assert_eq!(request(more), None, "{more}");
        }
        for line in ["GET / HTTP/1.1", "POST /%61pi HTTP/1.1", "POST http://a/b HTTP/1.1", "POST / HTTP/1.0"]
        {
            assert_eq!(Request::of(format!("{line}\r\n\r\n").as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn an_answer_has_its_length_and_the_requests_id() {
        let brief = Brief::new(&Dress::new(&Options::default()), &Origins::Any);
        for (text, waiting) in [(&brief.relay, true), (&brief.other, false)] {
            let answer = String::from_utf8(text.with("id-1")).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
            assert!(
                head.contains("\r\nx-request-id: id-1") && head.contains("\r\nretry-after: 1\r\n"),
                "{head}"
            );
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&body["error"], &body["requestId"]), (&"overloaded".into(), &"id-1".into()));
            assert_eq!(body["status"] == "waiting", waiting);
        }
    }
}
