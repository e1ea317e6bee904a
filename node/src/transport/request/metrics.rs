//! Every metric of the HTTP edge, in one place. Labels come from fixed sets; none carries what a client wrote.

use std::sync::OnceLock;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use conclave_cluster::state::allowance::Tier;
use metrics::{Counter, Histogram, Unit};

use super::error::Code;
use super::in_flight::InFlight;
use super::route::Route;
use crate::access::tier_limits::{self, TIERS};

/// Seconds from a request's head to its answer's, by route, method and class of status.
pub const REQUEST_SECONDS: &str = "conclave_http_request_seconds";
/// Requests being answered.
pub const IN_FLIGHT: &str = "conclave_http_requests_in_flight";
/// Errors given, by code.
pub const ERRORS: &str = "conclave_http_errors_total";
/// Requests refused because an allowance was spent, by tier.
pub const LIMITED: &str = "conclave_http_limited_total";
/// Reports of breaches of the content security policy.
pub const CSP_REPORTS: &str = "conclave_http_csp_reports_total";
/// Chunks stored for the first time.
pub const CHUNKS_STORED: &str = "conclave_http_chunks_stored_total";

const METHODS: [(Method, &str); 5] = [
    (Method::GET, "GET"),
    (Method::POST, "POST"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::OPTIONS, "OPTIONS"),
];
const OTHER_METHOD: usize = METHODS.len();
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles, resolved on first use, so that a request costs no look-up in the recorder.
pub(crate) struct Metrics {
    seconds: Box<[OnceLock<Histogram>]>,
    errors: Box<[OnceLock<Counter>]>,
    limited: [OnceLock<Counter>; TIERS.len()],
    pub(crate) in_flight: InFlight,
    pub(crate) csp_reports: Counter,
    pub(crate) chunks_stored: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        metrics::describe_histogram!(
            REQUEST_SECONDS,
            Unit::Seconds,
            "time from a request's head to its answer's, by route, method and status"
        );
        metrics::describe_gauge!(IN_FLIGHT, "requests being answered");
        metrics::describe_counter!(ERRORS, "errors given, by code");
        metrics::describe_counter!(LIMITED, "requests refused because an allowance was spent, by tier");
        metrics::describe_counter!(CSP_REPORTS, "reports of breaches of the content security policy");
        metrics::describe_counter!(CHUNKS_STORED, "chunks stored for the first time");
        for code in Code::ALL {
            metrics::counter!(ERRORS, "code" => code.name()).increment(0);
        }
        for tier in TIERS {
            metrics::counter!(LIMITED, "tier" => tier_limits::name(tier)).increment(0);
        }
        Self {
            seconds: empty(Route::COUNT * (METHODS.len() + 1) * CLASSES.len()),
            errors: empty(Code::ALL.len()),
            limited: Default::default(),
            in_flight: InFlight::new(metrics::gauge!(IN_FLIGHT)),
            csp_reports: metrics::counter!(CSP_REPORTS),
            chunks_stored: metrics::counter!(CHUNKS_STORED),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, route: Route, method: &Method, status: StatusCode, took: Duration) {
        let known = METHODS.iter().position(|(known, _)| known == method).unwrap_or(OTHER_METHOD);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let place = (route as usize * (METHODS.len() + 1) + known) * CLASSES.len() + class;
        self.seconds[place]
            .get_or_init(|| {
                metrics::histogram!(
                    REQUEST_SECONDS,
                    "route" => route.template(),
                    "method" => METHODS.get(known).map_or("other", |(_, name)| *name),
                    "status" => CLASSES[class],
                )
            })
            .record(took);
    }

    /// An error was given.
    pub(crate) fn failed(&self, code: Code) {
        let handle =
            self.errors[code as usize].get_or_init(|| metrics::counter!(ERRORS, "code" => code.name()));
        handle.increment(1);
    }

    /// A request was refused by its tier.
    pub(crate) fn limited(&self, tier: Tier) {
        if let Some(place) = TIERS.iter().position(|other| *other == tier) {
            let name = tier_limits::name(tier);
            self.limited[place].get_or_init(|| metrics::counter!(LIMITED, "tier" => name)).increment(1);
        }
    }
}

fn empty<T>(len: usize) -> Box<[OnceLock<T>]> {
    (0..len).map(|_| OnceLock::new()).collect()
}
