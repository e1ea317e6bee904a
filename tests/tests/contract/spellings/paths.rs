//! The paths that are asked, and how else each could be spelled.

use std::collections::BTreeMap;

use conclave_tests::openapi;
use conclave_tests::relay::{Pair, poll};
use serde_json::json;

/// What is open to anybody: it is not asked here.
const OPEN: [&str; 7] = [
    "/api/v1/edition",
    "/api/v1/openapi.json",
    "/docs",
    "/api/v1/csp-reports",
    "/health",
    "/livez",
    "/readyz",
];

/// One method of one route.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: &'static str,
    pub(super) body: String,
}

/// Every guarded method of every route that is documented, which are those of the table of routes.
pub(super) fn endpoints(parameters: &BTreeMap<&str, String>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (method, template) in openapi::endpoints() {
        let template = template.as_str();
        if OPEN.contains(&template) {
            continue;
        }
        let path = filled(template, parameters);
        let query = match template {
            "/api/v1/events" => "room=lobby",
            "/api/v1/sessions/resolve" => "pin=none",
            _ => "",
        };
        let body = match (method.as_str(), template) {
            ("POST", "/api/relay") => poll("victim").to_string(),
            ("POST", "/api/v1/transfers") => Pair::fresh().open(1).to_string(),
            ("POST", "/api/v1/devices") => {
                json!({"userId": "alice", "deviceId": "d", "onion": "abcdefghij234567.onion"}).to_string()
            }
            ("POST" | "PUT", _) => "{}".to_owned(),
            _ => String::new(),
        };
        let endpoint = |path: String| Endpoint { method: method.clone(), path, query, body: body.clone() };
        if let Some(rest) = path.strip_prefix("/api/v1/") {
            endpoints.push(endpoint(format!("/v1/{rest}")));
        }
        match template {
            "/api/relay" => {
                endpoints.extend([endpoint("/v1/relay".to_owned()), endpoint("/api/v1/relay".to_owned())])
            }
            "/api/v1/socket" => endpoints.push(endpoint("/ws".to_owned())),
            _ => {}
        }
        endpoints.push(endpoint(path));
    }
    endpoints
}

/// A template with its parameters filled in: `{id}` is that of what stands before it.
fn filled(template: &str, parameters: &BTreeMap<&str, String>) -> String {
    let mut before = "";
    let parts = template.split('/').map(|part| {
        let name = match (before, part) {
            ("sessions", "{id}") => "sessionId",
            ("transfers", "{id}") => "transferId",
            ("jobs", "{id}") => "jobId",
            _ => part.trim_start_matches('{').trim_end_matches('}'),
        };
        before = part;
        if part.starts_with('{') {
            parameters.get(name).unwrap_or_else(|| panic!("{name} of {template}")).clone()
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A path with each of its letters encoded, in each way, and with what else makes no difference to where it leads.
pub(super) fn spellings(path: &str) -> Vec<String> {
    let mut all = vec![format!("{path}/"), path.to_uppercase(), path.to_owned()];
    for (at, letter) in path.bytes().enumerate().filter(|(_, letter)| *letter != b'/') {
        let mut codes = vec![format!("%{letter:02x}"), format!("%{letter:02X}")];
        if letter.is_ascii_alphabetic() {
            codes.push(format!("%{:02X}", letter ^ 0x20));
        }
        codes.sort();
        codes.dedup();
        all.extend(codes.iter().map(|code| format!("{}{code}{}", &path[..at], &path[at + 1..])));
    }
    let encoded = path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") });
    all.push(encoded.collect());
    all
}

/// Spellings that lead nowhere, or only to where the plain path leads.
pub(super) fn oddities(path: &str) -> Vec<String> {
    let rest = &path[1..];
    let last = path.len() - 1;
    vec![
        format!("//{rest}"),
        format!("/./{rest}"),
        format!("/x/..{path}"),
        format!("/%2e/{rest}"),
        format!("/x/%2E%2e{path}"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}%2F"),
        format!("{path}%00"),
        format!("{path};x=1"),
        format!("{}%25{:02x}", &path[..last], path.as_bytes()[last]),
        path.replace('/', "%2F"),
        path.replacen('/', "\\", 2),
        format!("http://other{path}"),
    ]
}

impl Endpoint {
    pub(super) fn request(&self, method: &str, path: &str, query: &str, headers: &str) -> String {
        let queries: Vec<&str> = [self.query, query].into_iter().filter(|part| !part.is_empty()).collect();
        let mark = if queries.is_empty() { "" } else { "?" };
        let body = if method == self.method { self.body.as_str() } else { "" };
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        format!(
            "{method} {path}{mark}{} HTTP/1.1\r\nhost: a\r\n{length}{headers}\r\n{body}",
            queries.join("&")
        )
    }
}
