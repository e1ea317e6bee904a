//! What stands before every handler, decided on the row of the table that the router found. Who is let in nowhere else
//! is let in here, and what no row names is closed.

use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody as _};
use actix_web::http::header::{ALLOW, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::cors::{self, Verdict};
use super::error::{self, Code, Error, Extra};
use super::path::{self, Malformed};
use super::router::{Found, Incoming};
use super::routes::{Entry, Kind, Route, Row};
use super::shared::Shared;
use super::{entrance, signed};
use crate::access::Scope;
use crate::listener::Refusal;

/// What is known of a request before anybody looks at it; among its extensions, in an [`Rc`].
pub(super) struct Arrival {
    /// Where its path leads, if anywhere.
    pub(super) found: Result<Option<Found>, Malformed>,
    /// Which of the deprecations covers its path, if one does.
    pub(super) deprecated: Option<usize>,
    pub(super) verdict: Verdict,
    pub(super) refusal: Option<Refusal>,
}

impl Arrival {
    /// The row that its path leads to.
    pub(super) fn row(&self) -> Option<&'static Row> {
        self.found.as_ref().ok()?.as_ref().map(|found| found.row)
    }

    /// Which of the row's paths it is.
    pub(super) fn path_number(&self) -> Option<usize> {
        self.found.as_ref().ok()?.as_ref().map(|found| found.number)
    }

    /// A parameter of its path, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.found.as_ref().ok()?.as_ref()?.parameter(name)
    }

    /// The name of the row that its path leads to.
    pub(super) fn route(&self) -> Route {
        self.row().map_or(Route::Other, |row| row.name)
    }
}

/// A parameter of the request's path. Empty where the path has none of that name.
pub(super) fn parameter(request: &HttpRequest, name: &str) -> String {
    let extensions = request.extensions();
    extensions.get::<Rc<Arrival>>().and_then(|arrival| arrival.parameter(name)).unwrap_or_default().to_owned()
}

/// Answers a request by the handler that its row names, if it may come in.
pub(super) async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let arrival = request.extensions().get::<Rc<Arrival>>().cloned().ok_or(Code::Internal)?;
    if let Some(refusal) = arrival.refusal {
        return Err(refused(refusal, arrival.route()));
    }
    let row = arrival.row();
    let kind = row.map(|row| row.kind);
    // Probes are never refused for their number.
    if let Some(pace) = shared.options.shares.free.as_ref().filter(|_| kind != Some(Kind::Probe)) {
        let admitted = pace.admit(entrance::sharer(&shared, &request), Instant::now());
        admitted.map_err(|wait| error::of_client(wait.as_secs() + 1))?;
    }
    if arrival.found.is_err() {
        return Err(Code::InvalidInput.into());
    }
    let deprecated = arrival.deprecated.and_then(|at| shared.options.deprecated.get(at));
    if deprecated.is_some_and(|deprecated| deprecated.is_over(shared.services.now_ms())) {
        return Err(Code::Gone.into());
    }
    if shared.options.tls_required && kind != Some(Kind::Probe) && !entrance::is_secure(&shared, &request) {
        return Err(Code::TlsRequired.into());
    }
    // A report is only counted.
    if arrival.verdict == Verdict::Refused && kind != Some(Kind::Report) {
        return Err(Code::OriginNotAllowed.into());
    }
    if *request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Ok(options(cors::METHODS));
    }
    let row = row.ok_or(Code::NotFound)?;
    if *request.method() == Method::OPTIONS {
        return Ok(options(row.allow));
    }
    if shared.is_draining() && !row.kind.outlives_drain() {
        return Err(Code::ShuttingDown.into());
    }
    let endpoint = row
        .endpoint(request.method())
        .ok_or_else(|| Error::from(Code::MethodNotAllowed).with(Extra::Allow(row.allow)))?;
    enter(&shared, row.entry, &request).await?;
    let is_head = *request.method() == Method::HEAD;
    let mut response = (endpoint.handler)(Incoming { request, payload, shared }).await?;
    if is_head && response.body().size() == BodySize::Stream {
        // Its length is not known, and nobody waits for its end.
        let nothing = stream::empty::<Result<Bytes, std::convert::Infallible>>();
        response = response.set_body(BoxBody::new(BodyStream::new(nothing)));
    }
    Ok(response)
}

/// Looks at the credential of a request, and leaves it for the handler.
async fn enter(shared: &Shared, entry: Entry, request: &HttpRequest) -> Result<(), Error> {
    let scope = match entry {
        Entry::Open => return Ok(()),
        Entry::Checked(scope) => scope,
        Entry::Own => None,
    };
    let shown = if signed::concerns(shared, request) {
        Some(signed::judge(shared, request).await?)
    } else if entry == Entry::Own {
        None
    } else {
        entrance::check(shared, request)?
    };
    let Some(credential) = shown else { return Ok(()) };
    if scope.is_some_and(|scope: Scope| !credential.may(scope)) {
        return Err(Code::Forbidden.into());
    }
    request.extensions_mut().insert(credential);
    Ok(())
}

fn options(allow: &'static str) -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(()));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// What is answered to heads that were refused before they came here.
fn refused(refusal: Refusal, route: Route) -> Error {
    match refusal {
        Refusal::Malformed => Code::InvalidInput.into(),
        Refusal::TooLarge => Code::HeadTooLarge.into(),
        Refusal::Method => Error::from(Code::MethodNotAllowed).with(Extra::Allow(cors::METHODS)),
        Refusal::Late => Code::RequestTimeout.into(),
        Refusal::Overloaded => overloaded(route),
    }
}

/// What is answered to a large body that there is no time for.
pub(super) fn overloaded(route: Route) -> Error {
    unread(route, Code::Overloaded.into())
}

/// An error about a body whose action is not known. At the relay what is refused for load is most likely a chunk, and whoever
/// sent one reads the status.
pub(super) fn unread(route: Route, error: Error) -> Error {
    Error { waiting: route == Route::Relay && error.code == Code::Overloaded, ..error }
}

/// Everything that is known of a request by its head.
pub(super) fn arrival(shared: &Shared, request: &HttpRequest) -> Arrival {
    let headers: &HeaderMap = request.headers();
    let normal = path::normal(request.uri().path());
    let covers = |path: &str| shared.options.deprecated.iter().position(|one| one.covers(path));
    Arrival {
        deprecated: normal.as_ref().ok().and_then(|path| covers(path)),
        found: normal.map(|path| shared.router.find(&path, headers)),
        verdict: Verdict::of(headers, &shared.options.allowed_origins, || entrance::own(shared, request)),
        refusal: Refusal::of(request.method(), headers),
    }
}
