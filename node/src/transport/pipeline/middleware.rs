//! What happens to every request: an id, a span, the origin check, the headers, the shape of errors, the counts.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpMessage as _;
use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use super::{Pipeline, entry_checks};
use crate::listener::{BodyGate, Refusal};
use crate::otlp;
use crate::transport::request::app_state::AppState;
use crate::transport::request::arrival::Arrival;
use crate::transport::request::authenticate;
use crate::transport::request::edge_options::Options;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::request_id::{self, REQUEST_ID};
use crate::transport::request::route::{Kind, Route};
use crate::transport::request::{accept, rate_limit_headers};

/// The policy of answers that no browser should ever render.
const API_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     report-uri /api/v1/csp-reports; report-to csp";
const PERMISSIONS: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), \
     fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), \
     picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(self), usb=(), web-share=(), \
     xr-spatial-tracking=()";

/// The headers of every response. A handler that sets one of them itself keeps its own.
pub(super) struct DefaultHeaders(Vec<(HeaderName, HeaderValue)>);

impl DefaultHeaders {
    pub(super) fn new(options: &Options) -> Self {
        let mut headers = vec![
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
            (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(API_POLICY)),
            (
                HeaderName::from_static("reporting-endpoints"),
                HeaderValue::from_static("csp=\"/api/v1/csp-reports\""),
            ),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("cross-origin"),
            ),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        if options.tls {
            let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
            headers.push((STRICT_TRANSPORT_SECURITY, year));
        }
        Self(headers)
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        headers.reserve(self.0.len() + 12);
        for (name, value) in &self.0 {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Takes a request through the service and sends its answer out properly dressed.
pub(super) fn pass<S>(
    pipeline: &Arc<Pipeline>,
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<BoxBody>, actix_web::Error>> + use<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
{
    let pipeline = pipeline.clone();
    let shared = &pipeline.state;
    let began = Instant::now();
    let arrival = Rc::new(entry_checks::arrival(&pipeline, request.request()));
    let (row, route, refusal) = (arrival.row(), arrival.route(), arrival.refusal);
    let id = arrival.id.clone();
    request.extensions_mut().insert(arrival.clone());
    let method = request.method().clone();
    // A span costs a tenth of a small request. It is there when debug lines are; what is logged of a request above
    // that level names the request itself.
    let span = tracing::debug_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        route = route.template(),
        method = method_name(&method),
        status = field::Empty,
        duration_us = field::Empty,
    );
    let named = otlp::Request {
        route: route.template(),
        method: method_name(&method),
        id: id.to_str().unwrap_or_default(),
    };
    let told = shared.options.traces.begin(request_id::parent(request.headers()), named);
    let logged = shared.options.log_requests.then(|| request_id::trace(request.headers()).map(str::to_owned));
    let in_flight = shared.metrics.in_flight.begin();
    let body_gate = request.conn_data::<BodyGate>().cloned();

    // Probes are never refused for their number.
    let is_probe = row.is_some_and(|row| row.kind == Kind::Probe);
    let free = shared.options.shares.free.clone().filter(|_| !is_probe);
    let free = free.map(|pace| (pace, authenticate::sharer(shared, request.request())));
    let answer = service.call(request);
    async move {
        let shared = &pipeline.state;
        let answer = answer.await;
        if let Some(body_gate) = &body_gate {
            // Nobody wants the body any more, but it stands before the next request.
            body_gate.over();
        }
        let mut response = answer?;
        let failed = response.response().error().is_some();
        if failed {
            response = explain(shared, response, &arrival);
        }
        let headers = response.headers_mut();
        arrival.rate_limits().write(
            headers,
            |tier, limit| shared.policy(tier, limit),
            || shared.services.log_ms(),
        );
        let free =
            free.filter(|_| !arrival.is_charged() && is_free(route, &method, response.status(), failed));
        if let Some(row) = row {
            rate_limit_headers::tell(shared, row, &mut response);
        }
        let headers = response.headers_mut();
        pipeline.default_headers.apply(headers);
        headers.insert(REQUEST_ID, id.clone());
        if let Some(deprecated) = arrival.deprecated.and_then(|at| shared.options.deprecated.get(at)) {
            deprecated.write(headers);
        }
        let origins = &shared.options.allowed_origins;
        arrival.verdict.write(headers, origins, method == Method::OPTIONS);
        if shared.is_draining() || refusal.is_some_and(|refusal| refusal != Refusal::Overloaded) {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        if let Some((pace, client)) = free {
            let left = pace.take(client, began.into_std());
            if route != Route::Page {
                rate_limit_headers::tell_free(&left, response.headers_mut());
            }
        }
        drop(in_flight);
        let (status, took) = (response.status(), began.elapsed());
        shared.metrics.answered(route, &method, status, took);
        told.end(status.as_u16());
        let span = tracing::Span::current();
        span.record("status", status.as_u16()).record("duration_us", took.as_micros() as u64);
        if let Some(trace_id) = logged {
            tracing::info!(
                request_id = id.to_str().unwrap_or_default(),
                trace_id,
                route = route.template(),
                method = method_name(&method),
                status = status.as_u16(),
                duration_us = took.as_micros() as u64,
                "request"
            );
        }
        // Refusals are answers like others: an overload must not become a flood of lines as well. Metrics count them.
        let refused = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE);
        if status.is_server_error() && !refused {
            let (request_id, route) = (id.to_str().unwrap_or_default(), route.template());
            tracing::warn!(request_id, route, status = status.as_u16(), "request failed");
        } else {
            tracing::debug!("request answered");
        }
        Ok(response)
    }
    .instrument(span)
}

/// Whether a client could have a request for which no allowance was charged answered as often as it likes. What is refused
/// for its number, or for ours, costs little and is not held against its client. Some refusals have the status of a success.
fn is_free(route: Route, method: &Method, status: StatusCode, refused: bool) -> bool {
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return false;
    }
    let costs_nothing = matches!(
        route,
        Route::Page | Route::Edition | Route::Nodes | Route::Reports | Route::Description | Route::Reference
    );
    costs_nothing || *method == Method::OPTIONS || refused || status.is_client_error()
}

/// Gives an error its body.
fn explain(
    shared: &AppState,
    response: ServiceResponse<BoxBody>,
    arrival: &Arrival,
) -> ServiceResponse<BoxBody> {
    let id = arrival.id.to_str().unwrap_or_default();
    let problem = accept::prefers_problem(response.request().headers());
    let framework = Error::from(code_of(response.status()));
    let error = response.response().error().and_then(|error| error.as_error::<Error>()).unwrap_or(&framework);
    shared.metrics.failed(error.code);
    let rendered = error.render(id, problem, arrival.keeps_status(error.code));
    response.into_response(rendered)
}

/// Errors of the framework say nothing about themselves but their status.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        status if status.is_client_error() => Code::InvalidInput,
        _ => Code::Internal,
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_insisted_on_only_where_it_is_spoken() {
        let headers = |tls| {
            let mut headers = HeaderMap::new();
            DefaultHeaders::new(&Options { tls, ..Options::default() }).apply(&mut headers);
            headers
        };
        assert!(headers(true).contains_key(STRICT_TRANSPORT_SECURITY));
        assert!(!headers(false).contains_key(STRICT_TRANSPORT_SECURITY));
        assert_eq!(headers(false).get(X_FRAME_OPTIONS).unwrap(), "DENY");
    }

    #[test]
    fn what_can_be_had_without_end_is_free() {
        let free = |route, method: Method, status: u16, refused: bool| {
            is_free(route, &method, StatusCode::from_u16(status).unwrap(), refused)
        };
        assert!(free(Route::Other, Method::GET, 404, true) && free(Route::Relay, Method::POST, 401, true));
        assert!(free(Route::Relay, Method::POST, 200, true), "a chunk that is refused");
        assert!(
            free(Route::Relay, Method::OPTIONS, 204, false) && free(Route::Page, Method::GET, 200, false)
        );
        assert!(!free(Route::Relay, Method::POST, 200, false));
        assert!(!free(Route::Page, Method::GET, 429, true) && !free(Route::Relay, Method::POST, 503, true));
    }

    #[test]
    fn a_handler_keeps_the_headers_it_chose() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        DefaultHeaders::new(&Options::default()).apply(&mut headers);
        assert_eq!(headers.get(CONTENT_SECURITY_POLICY).unwrap(), "default-src 'self'");
    }

    #[test]
    fn the_policy_is_strict_and_reports() {
        assert!(API_POLICY.starts_with("default-src 'none'"));
        assert!(API_POLICY.contains("report-to csp"));
    }
}
