//! Where a request carries its credential.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::Query;

/// What a bearer begins with that is offered beside the protocols of a socket. Browsers let a page set no other header.
const OFFERED: &str = "conclave.bearer.";

/// What a request showed. There is no `Debug`, so that none of it is logged.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A token.
    Token(String),
    /// A ticket.
    Ticket(String),
    /// Two different things, or something that cannot be read.
    Unclear,
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1). Another scheme is for somebody else, a proxy's password
/// for example, and shows nothing.
pub fn header(headers: &HeaderMap) -> Shown {
    let mut lines = headers.get_all(AUTHORIZATION);
    match (lines.next(), lines.next()) {
        (None, _) => Shown::Nothing,
        (Some(line), None) => match line.to_str() {
            Ok(line) if is_other_scheme(line) => Shown::Nothing,
            Ok(line) => bearer(line).map_or(Shown::Unclear, |token| Shown::Token(token.to_owned())),
            Err(_) => Shown::Unclear,
        },
        (Some(_), Some(_)) => Shown::Unclear,
    }
}

/// As [`header`], and where there is none, a bearer among the offered protocols, `?ticket=` or `?token=`, which are for
/// clients that cannot set headers. More than one of them is unclear.
pub fn anywhere(request: &HttpRequest) -> Shown {
    let found = [header(request.headers()), offered(request.headers()), in_query(request)];
    let mut shown = found.into_iter().filter(|shown| *shown != Shown::Nothing);
    match (shown.next(), shown.next()) {
        (None, _) => Shown::Nothing,
        (Some(shown), None) => shown,
        (Some(_), Some(_)) => Shown::Unclear,
    }
}

/// The protocols a client offers for its socket, without a bearer among them: only these may be answered with.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    all_offered(headers).filter(|protocol| !protocol.starts_with(OFFERED))
}

fn offered(headers: &HeaderMap) -> Shown {
    let mut bearers = all_offered(headers).filter_map(|protocol| protocol.strip_prefix(OFFERED));
    match (bearers.next(), bearers.next()) {
        (None, _) => Shown::Nothing,
        (Some(token), None) if !token.is_empty() => Shown::Token(token.to_owned()),
        (Some(_), _) => Shown::Unclear,
    }
}

fn all_offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).map(text);
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn in_query(request: &HttpRequest) -> Shown {
    let query = request.query_string();
    // Most requests have neither, and need no parsing to know it.
    if !query.contains("tok") && !query.contains("tick") && !query.contains('%') {
        return Shown::Nothing;
    }
    let Ok(pairs) = Query::<Vec<(String, String)>>::from_query(query) else { return Shown::Unclear };
    let mut found = pairs.into_inner().into_iter().filter_map(|(name, value)| match name.as_str() {
        "token" => Some(Shown::Token(value)),
        "ticket" => Some(Shown::Ticket(value)),
        _ => None,
    });
    match (found.next(), found.next()) {
        (None, _) => Shown::Nothing,
        (Some(shown), None) => shown,
        (Some(_), Some(_)) => Shown::Unclear,
    }
}

/// Whether a line names a scheme, and not ours (RFC 9110, section 11.4). A token alone names none.
fn is_other_scheme(line: &str) -> bool {
    let scheme = line.split(' ').next().unwrap_or_default();
    !scheme.eq_ignore_ascii_case("bearer") && !scheme.is_empty() && line.len() > scheme.len()
}

fn bearer(line: &str) -> Option<&str> {
    let (scheme, token) = line.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn shown(uri: &str, headers: &[(&'static str, &'static str)]) -> &'static str {
        let mut request = TestRequest::with_uri(uri);
        for header in headers {
            request = request.append_header(*header);
        }
        match anywhere(&request.to_http_request()) {
            Shown::Nothing => "nothing",
            Shown::Unclear => "unclear",
            Shown::Token(token) if token == "a.b.c" => "token",
            Shown::Ticket(ticket) if ticket == "t1" => "ticket",
            Shown::Token(_) | Shown::Ticket(_) => "other",
        }
    }

    #[test]
    fn a_credential_may_come_in_four_ways() {
        assert_eq!(shown("/", &[]), "nothing");
        assert_eq!(shown("/?room=x%20y", &[]), "nothing");
        assert_eq!(shown("/", &[("authorization", "Bearer a.b.c")]), "token");
        assert_eq!(shown("/", &[("authorization", "bearer  a.b.c")]), "token");
        assert_eq!(shown("/?token=a.b.c", &[]), "token");
        assert_eq!(shown("/?room=x&ticket=t1", &[]), "ticket");
        assert_eq!(shown("/?%74icket=t1", &[]), "ticket");
        let offer = [("sec-websocket-protocol", "conclave.v1.json, conclave.bearer.a.b.c")];
        assert_eq!(shown("/", &offer), "token");
    }

    #[test]
    fn two_credentials_are_unclear() {
        assert_eq!(shown("/?ticket=t1", &[("authorization", "Bearer a.b.c")]), "unclear");
        assert_eq!(shown("/?ticket=t1&token=a.b.c", &[]), "unclear");
        assert_eq!(shown("/?token=a.b.c&token=a.b.c", &[]), "unclear");
        let twice = [("authorization", "Bearer a.b.c"), ("authorization", "Bearer d.e.f")];
        assert_eq!(shown("/", &twice), "unclear");
    }

    #[test]
    fn other_schemes_prove_nothing() {
        for line in ["Basic YTpi", "Digest username=\"a\", realm=\"b\""] {
            assert_eq!(shown("/", &[("authorization", line)]), "nothing", "{line}");
            assert_eq!(shown("/?token=a.b.c", &[("authorization", line)]), "token", "{line}");
        }
        for line in ["Bearer", "Bearer ", "Bearer a b", "a.b.c", " Bearer a.b.c", "Bearer\ta.b.c"] {
            assert_eq!(shown("/", &[("authorization", line)]), "unclear", "{line}");
        }
        assert_eq!(shown("/", &[("sec-websocket-protocol", "conclave.bearer.")]), "unclear");
    }

    #[test]
    fn a_bearer_is_no_protocol_to_answer_with() {
        let request = TestRequest::default()
            .append_header(("sec-websocket-protocol", "conclave.bearer.a.b.c, conclave.v1.json"))
            .append_header(("sec-websocket-protocol", "chat"))
            .to_http_request();
        assert_eq!(protocols(request.headers()).collect::<Vec<_>>(), ["conclave.v1.json", "chat"]);
    }
}
