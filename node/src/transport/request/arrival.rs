//! What is known of a request by its head, and what its handler leaves for the response.

use std::cell::{Cell, OnceCell};

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;

use super::cors::Verdict;
use super::error::Code;
use super::path::Malformed;
use super::rate_limit_headers::RateLimitHeaders;
use super::route::{Endpoint, Route, Row};
use crate::listener::Refusal;
use crate::service::Caller;

/// Where a path leads.
pub(crate) struct Found {
    pub(crate) row: &'static Row,
    /// Which of the row's paths it is.
    pub(crate) number: usize,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Found {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// What is known of a request before anybody looks at it, and what is told of it with the answer; among its extensions, in an
/// [`Rc`](std::rc::Rc).
pub(crate) struct Arrival {
    /// The id under which it is found again in logs and answers.
    pub(crate) id: HeaderValue,
    /// Where its path leads, if anywhere.
    pub(crate) found: Result<Option<Found>, Malformed>,
    /// Which of the deprecations covers its path, if one does.
    pub(crate) deprecated: Option<usize>,
    pub(crate) verdict: Verdict,
    pub(crate) refusal: Option<Refusal>,
    /// Who asks, once that was asked for.
    pub(crate) caller: OnceCell<Caller>,
    /// A token that a load balancer can route by, for the key that the request is about.
    pub(crate) affinity: Cell<Option<u32>>,
    about_chunks: Cell<Option<bool>>,
}

impl Arrival {
    pub(crate) fn new(
        id: HeaderValue,
        found: Result<Option<Found>, Malformed>,
        deprecated: Option<usize>,
        verdict: Verdict,
        refusal: Option<Refusal>,
    ) -> Self {
        let (caller, affinity, about_chunks) = Default::default();
        Self { id, found, deprecated, verdict, refusal, caller, affinity, about_chunks }
    }

    /// The row that its path leads to.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        self.found.as_ref().ok()?.as_ref().map(|found| found.row)
    }

    /// Which of the row's paths it is.
    pub(crate) fn path_number(&self) -> Option<usize> {
        self.found.as_ref().ok()?.as_ref().map(|found| found.number)
    }

    /// A parameter of its path, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.found.as_ref().ok()?.as_ref()?.parameter(name)
    }

    /// The name of the row that its path leads to.
    pub(crate) fn route(&self) -> Route {
        self.row().map_or(Route::Other, |row| row.name)
    }

    /// What the table says of a method here.
    pub(crate) fn endpoint(&self, method: &Method) -> Option<&'static Endpoint> {
        self.row()?.endpoint(method)
    }

    /// Whether what the relay is asked for, now that it is known, is about chunks.
    pub(crate) fn note_action(&self, about_chunks: bool) {
        self.about_chunks.set(Some(about_chunks));
    }

    /// Whether an error keeps `"status": "waiting"`, which clients of the relay's chunk actions read.
    pub(crate) fn keeps_status(&self, code: Code) -> bool {
        // Refused unread, it is most likely a chunk: at the relay that is what large bodies are.
        let is_unread_chunk = self.route() == Route::Relay && code == Code::Overloaded;
        self.about_chunks.get().unwrap_or(is_unread_chunk)
    }

    /// What the response's headers tell of allowances.
    pub(crate) fn rate_limits(&self) -> RateLimitHeaders {
        RateLimitHeaders { told: self.caller.get().and_then(Caller::told), affinity: self.affinity.get() }
    }

    /// Whether an allowance was charged for it.
    pub(crate) fn is_charged(&self) -> bool {
        self.caller.get().is_some_and(Caller::is_charged)
    }
}
