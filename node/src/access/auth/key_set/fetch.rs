//! Asks an address for a small document: bounded in bytes and time, at no address that is not to be asked, and nowhere
//! else than where it was told to.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT, AGE, CACHE_CONTROL};
use hyper::{HeaderMap, Request, StatusCode};

use crate::access::auth::jwk_set::SET_BYTES_MAX;
use crate::access::outbound::{self, AuthoritiesError, Client, HttpUrl, Settings};

/// For a whole answer, from the look-up of the name to the last byte.
const FETCH_MAX: Duration = Duration::from_secs(5);
const SETTINGS: Settings = Settings { authorities: "auth.jwks_ca", allow_private: "auth.jwks_allow_private" };

/// How documents are asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(Client);

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    /// For how long it is fresh, if it says so.
    pub(super) fresh: Option<Duration>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Unanswered(#[from] outbound::Error),
    #[error("the connection broke, or spoke no HTTP")]
    Broken,
    #[error("it answered {0}, and redirects are not followed")]
    Redirect(u16),
    #[error("it answered {0}")]
    Status(u16),
    #[error("its answer is longer than {SET_BYTES_MAX} bytes")]
    Long,
    #[error("it did not answer within {} s", FETCH_MAX.as_secs())]
    Late,
}

impl Fetcher {
    /// Reads the authorities once, so that a wrong file is told at the start.
    pub(super) fn new(authorities: Option<PathBuf>, allow_private: bool) -> Result<Self, AuthoritiesError> {
        Client::new(SETTINGS, authorities, allow_private).map(Self)
    }

    /// Asks for the document at `url`.
    pub(super) async fn get(&self, url: &HttpUrl) -> Result<Document, FetchError> {
        tokio::time::timeout(FETCH_MAX, self.ask(url)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn ask(&self, url: &HttpUrl) -> Result<Document, FetchError> {
        let request = Request::get("/")
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::default())
            .map_err(|_| FetchError::Broken)?;
        let mut answer = self.0.send(url, request, FETCH_MAX).await?;
        let status = answer.response.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect(status.as_u16()));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status.as_u16()));
        }
        let fresh = fresh_for(answer.response.headers());
        let body = Limited::new(answer.response.body_mut(), SET_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { FetchError::Long } else { FetchError::Broken }
        })?;
        Ok(Document { bytes: body.to_bytes(), fresh })
    }
}

/// For how long an answer is fresh (RFC 9111, section 4.2): not at all if it must not be kept.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim_matches('"').parse::<u64>().ok();
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let mut fresh = None;
    for directive in lines.flat_map(|line| line.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => fresh = Some(seconds(value).unwrap_or(0)),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or(0);
    fresh.map(|fresh| Duration::from_secs(fresh.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(lines: &[(&'static str, &'static str)]) -> Option<u64> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fresh_for(&headers.collect()).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn an_answer_says_for_how_long_it_is_fresh() {
        assert_eq!(fresh(&[]), None);
        assert_eq!(fresh(&[("cache-control", "public, Max-Age=300")]), Some(300));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "100")]), Some(200));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "400")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("cache-control", "no-store")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=soon")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "public")]), None);
    }
}
