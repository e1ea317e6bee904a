//! What a client accepts (RFC 9110, section 12): weights, ranges, and names in any case.

use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

/// Elements of a list that are looked at.
const ELEMENTS_MAX: usize = 32;
/// The weight of what is named without one, in thousandths.
const FULL: u16 = 1000;

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    Brotli,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// The coding that a client likes best of those that are offered; of two that it likes alike, the shorter.
pub(crate) fn coding(headers: &HeaderMap) -> Coding {
    let (mut brotli, mut gzip, mut identity, mut any) = (None, None, None, None);
    for (name, weight) in elements(headers, &ACCEPT_ENCODING) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("br") {
            brotli = Some(weight);
        } else if is("gzip") || is("x-gzip") {
            gzip = Some(weight);
        } else if is("identity") {
            identity = Some(weight);
        } else if is("*") {
            any = Some(weight);
        }
    }
    let of = |named: Option<u16>| named.or(any).unwrap_or(0);
    // What is not coded is acceptable unless it is refused, and chosen only if it is liked better by name.
    let (brotli, gzip, plain) = (of(brotli), of(gzip), identity.unwrap_or(0));
    let best = brotli.max(gzip).max(plain);
    match best {
        0 => Coding::Plain,
        best if brotli == best => Coding::Brotli,
        best if gzip == best => Coding::Gzip,
        _ => Coding::Plain,
    }
}

/// Whether errors are to be problem documents (RFC 9457): if they are named, and other JSON is not liked better.
pub(crate) fn prefers_problem(headers: &HeaderMap) -> bool {
    let (mut problem, mut json) = (0, 0);
    for (name, weight) in elements(headers, &ACCEPT) {
        if name.eq_ignore_ascii_case("application/problem+json") {
            problem = weight;
        } else if name.eq_ignore_ascii_case("application/json") {
            json = weight;
        }
    }
    problem > 0 && problem >= json
}

/// The elements of a list and their weights. One whose weight cannot be read is passed over.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    let lines = headers.get_all(name).filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).take(ELEMENTS_MAX).filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let is_weight = |part: &&str| part.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("q="));
        let weight = match parts.find(is_weight) {
            Some(part) => weight(part[2..].trim())?,
            None => FULL,
        };
        Some((name, weight))
    })
}

/// RFC 9110, section 12.4.2: `0` or `1`, and at most three digits behind the point.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn codings_are_chosen_by_weight_and_in_any_case() {
        for (accepted, expected) in [
            ("gzip, deflate, br", Coding::Brotli),
            ("GZIP", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("br;q=0.5, gzip;Q=0.8", Coding::Gzip),
            ("br ; q=0, gzip;q=0.001", Coding::Gzip),
            ("gzip;q=0", Coding::Plain),
            ("identity, gzip;q=0.5", Coding::Plain),
            ("identity;q=0.5, gzip", Coding::Gzip),
            ("*", Coding::Brotli),
            ("*;q=0", Coding::Plain),
            ("*, br;q=0", Coding::Gzip),
            ("deflate, zstd", Coding::Plain),
            ("gzip;q=2", Coding::Plain),
            ("", Coding::Plain),
        ] {
            assert_eq!(coding(&with(ACCEPT_ENCODING, accepted)), expected, "{accepted}");
        }
        assert_eq!(coding(&HeaderMap::new()), Coding::Plain);
    }

    #[test]
    fn a_problem_document_is_for_who_names_it_and_likes_nothing_better() {
        for accepted in [
            "application/problem+json",
            "application/json, application/problem+json",
            "Application/Problem+JSON;q=0.7, */*",
            "application/json;q=0.5, application/problem+json;q=0.9",
            "application/problem+json;charset=utf-8;q=1.000",
        ] {
            assert!(prefers_problem(&with(ACCEPT, accepted)), "{accepted}");
        }
        for accepted in [
            "*/*",
            "application/*",
            "application/json",
            "application/problem+json;q=0",
            "application/json, application/problem+json;q=0.9",
            "application/problem+json;q=1.5",
            "application/problem+jsonx",
            "text/plain;x=application/problem+json",
        ] {
            assert!(!prefers_problem(&with(ACCEPT, accepted)), "{accepted}");
        }
        assert!(!prefers_problem(&HeaderMap::new()));
    }
}
