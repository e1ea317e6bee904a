//! From a path to its row of the table: the only place where a path is taken apart.

use actix_web::http::header::HeaderMap;

use super::routes::ROWS;
use crate::transport::http::web as page;
use crate::transport::request::arrival::Found;
use crate::transport::request::path;
use crate::transport::request::route::{Paths, Route, Row};
use crate::transport::ws::upgrade;

/// Segments of the longest path that leads anywhere.
const SEGMENTS_MAX: usize = 7;

/// Finds rows.
#[derive(Debug)]
pub(super) struct Router(Vec<Pattern>);

/// One of a row's paths.
#[derive(Debug)]
struct Pattern {
    segments: Vec<Segment>,
    row: usize,
    /// Which of the row's paths it is.
    number: usize,
}

#[derive(Debug)]
enum Segment {
    /// Compared without regard to case.
    Fixed(String),
    /// Anything but nothing.
    Parameter(&'static str),
}

impl Router {
    /// `echo` is where messages are given back as they came; empty: nowhere. `files` says whether the page is served.
    pub(super) fn new(echo: &str, files: bool) -> Self {
        let mut patterns = Vec::new();
        for (row, Row { paths, .. }) in ROWS.iter().enumerate() {
            let mut add = |number, path: &str, segments| {
                debug_assert!(path.starts_with('/'));
                patterns.push(Pattern { segments, row, number });
            };
            match paths {
                Paths::At(paths) => {
                    for (number, path) in paths.iter().enumerate() {
                        let segments: Vec<_> = path.split('/').skip(1).map(Segment::of).collect();
                        add(number, path, segments);
                    }
                }
                Paths::Files if files => {
                    for (number, path) in page::paths().enumerate() {
                        add(number, path, path.split('/').skip(1).map(Segment::fixed).collect());
                    }
                }
                Paths::Configured if !echo.is_empty() => {
                    add(0, echo, echo.trim_end_matches('/').split('/').skip(1).map(Segment::fixed).collect());
                }
                Paths::Files | Paths::Configured => {}
            }
        }
        Self(patterns)
    }

    /// Where a path in its [normal form](path::normal) leads. One trailing slash means nothing, and neither does the case
    /// of what the table spells out.
    pub(super) fn find(&self, normal: &str, headers: &HeaderMap) -> Option<Found> {
        // Clients that were given nothing but a host upgrade at the root, where the page is for all others.
        if normal == "/" && upgrade::is_requested(headers) {
            let row = ROWS.iter().find(|row| row.name == Route::Socket)?;
            return Some(Found { row, number: 0, parameters: Vec::new() });
        }
        let mut split = [""; SEGMENTS_MAX + 1];
        let segments = segments(normal, &mut split)?;
        self.0.iter().find_map(|pattern| pattern.matched(segments))
    }
}

/// The segments of a path. `/v1/` is short for `/api/v1/`.
fn segments<'a, 'b>(normal: &'a str, into: &'b mut [&'a str; SEGMENTS_MAX + 1]) -> Option<&'b [&'a str]> {
    let path = normal.strip_prefix('/')?;
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let mut count = 0;
    for segment in path.split('/') {
        if count == 0 && segment.eq_ignore_ascii_case("v1") {
            into[0] = "api";
            count = 1;
        }
        *into.get_mut(count)? = segment;
        count += 1;
    }
    Some(&into[..count])
}

impl Segment {
    fn of(text: &'static str) -> Self {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => Self::Parameter(name),
            None => Self::fixed(text),
        }
    }

    fn fixed(text: &str) -> Self {
        Self::Fixed(text.to_owned())
    }
}

impl Pattern {
    fn matched(&self, segments: &[&str]) -> Option<Found> {
        if segments.len() != self.segments.len() {
            return None;
        }
        let fits = |(pattern, segment): (&Segment, &&str)| match pattern {
            Segment::Fixed(text) => text.eq_ignore_ascii_case(segment),
            Segment::Parameter(_) => !segment.is_empty(),
        };
        if !self.segments.iter().zip(segments).all(fits) {
            return None;
        }
        let mut parameters = Vec::new();
        for (pattern, segment) in self.segments.iter().zip(segments) {
            if let Segment::Parameter(name) = pattern {
                parameters.push((*name, path::text(segment)?));
            }
        }
        Some(Found { row: &ROWS[self.row], number: self.number, parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(Route, Vec<String>)> {
        let router = Router::new("/Echo/", true);
        let normal = path::normal(path).ok()?;
        let found = router.find(&normal, &HeaderMap::new())?;
        Some((found.row.name, found.parameters.into_iter().map(|(_, value)| value).collect()))
    }

    fn name(path: &str) -> Route {
        found(path).map_or(Route::Other, |(name, _)| name)
    }

    #[test]
    fn every_path_leads_to_its_row() {
        for (path, expected) in [
            ("/api/relay", Route::Relay),
            ("/v1/relay", Route::Relay),
            ("/api/v1/relay", Route::Relay),
            ("/v1/sessions", Route::Sessions),
            ("/api/v1/sessions/resolve", Route::Resolve),
            ("/api/v1/sessions/1", Route::Session),
            ("/v1/sessions/1/offer", Route::Offer),
            ("/api/v1/transfers/x/chunks/7", Route::Chunk),
            ("/api/v1/transfers/x/ack", Route::TransferAck),
            ("/api/v1/devices/bob", Route::UserDevices),
            ("/ws", Route::Socket),
            ("/echo", Route::Echo),
            ("/", Route::Page),
            ("/conclave.js", Route::Page),
        ] {
            assert_eq!(name(path), expected, "{path}");
        }
    }

    #[test]
    fn case_a_trailing_slash_and_needless_encodings_make_no_difference() {
        for path in ["/API/Relay", "/api/relay/", "/api/rela%79", "/V1/relay", "/%76%31/RELAY/"] {
            assert_eq!(name(path), Route::Relay, "{path}");
        }
        assert_eq!(name("/v1/Sessions/RESOLVE/"), Route::Resolve);
    }

    #[test]
    fn what_a_client_invents_leads_nowhere() {
        for path in [
            "/api/v1/secret",
            "/api/v1/sessions/1/offer/2",
            "/v2/sessions",
            "/api/relay/x",
            "/api/relay//",
            "//api/relay",
            "/api//relay",
            "/api/v1/sessions//offer",
            "/api/v1/v1/relay",
            "/v1",
            "/v1/",
            "api/relay",
            "",
            "*",
            "//",
            "/a/b/c/d/e/f/g/h/i/j",
            "/api%2Frelay",
            "/api/v1/devices/%FF",
        ] {
            assert_eq!(name(path), Route::Other, "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded_and_keep_their_case() {
        assert_eq!(found("/v1/devices/Bob%40x%2fy"), Some((Route::UserDevices, vec!["Bob@x/y".to_owned()])));
        let chunk = vec!["Ab".to_owned(), "7".to_owned()];
        assert_eq!(found("/v1/TRANSFERS/Ab/Chunks/7"), Some((Route::Chunk, chunk)));
    }

    #[test]
    fn a_node_without_a_page_has_none_of_its_files() {
        let router = Router::new("", false);
        for path in ["/", "/app.js", "/echo"] {
            assert!(router.find(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
