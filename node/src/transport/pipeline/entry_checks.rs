//! What stands before every handler, decided on the row of the table that the router found. Who is let in nowhere else
//! is let in here, and what no row names is closed.

use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody as _};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::sleep;

use super::Pipeline;
use crate::access::Scope;
use crate::listener::{BodyGate, Refusal};
use crate::transport::request::app_state::AppState;
use crate::transport::request::arrival::Arrival;
use crate::transport::request::context::Context;
use crate::transport::request::cors::{self, Verdict};
use crate::transport::request::error::{self, Code, Error, Extra};
use crate::transport::request::route::{Endpoint, Entry, Kind};
use crate::transport::request::{authenticate, path, request_id, signed};

/// Whoever is refused for want of room hears of it after this time: asking again at once, as long as it is refused, would take
/// from the others what storing takes.
const STORAGE_FULL_PAUSE: Duration = Duration::from_millis(100);

/// Answers a request by the handler that its row names, if it may come in.
pub(super) async fn answer(ctx: Context) -> Result<HttpResponse, Error> {
    let endpoint = admit(&ctx).await?;
    let Some(endpoint) = endpoint else {
        return Ok(options(ctx.arrival.row().map_or(cors::METHODS, |row| row.allow)));
    };
    let is_head = *ctx.request.method() == Method::HEAD;
    let gate = ctx.request.conn_data::<BodyGate>().cloned();
    let mut response = match (endpoint.handler)(ctx).await {
        // The handler is done with the request; nothing of it is held meanwhile.
        Err(error) if matches!(error.code, Code::StorageFull | Code::TenantStorageFull) => {
            gate.inspect(BodyGate::over);
            sleep(STORAGE_FULL_PAUSE).await;
            return Err(error);
        }
        answered => answered?,
    };
    if is_head && response.body().size() == BodySize::Stream {
        // Its length is not known, and nobody waits for its end.
        let nothing = stream::empty::<Result<Bytes, std::convert::Infallible>>();
        response = response.set_body(BoxBody::new(BodyStream::new(nothing)));
    }
    Ok(response)
}

/// What the table has for a request that may come in; `None` for `OPTIONS`, which is answered here.
async fn admit(ctx: &Context) -> Result<Option<&'static Endpoint>, Error> {
    let Context { shared, request, arrival, .. } = ctx;
    if let Some(refusal) = arrival.refusal {
        return Err(refused(refusal));
    }
    let row = arrival.row();
    let kind = row.map(|row| row.kind);
    // Probes are never refused for their number.
    if let Some(pace) = shared.options.shares.free.as_ref().filter(|_| kind != Some(Kind::Probe)) {
        let admitted = pace.admit(authenticate::sharer(shared, request), Instant::now());
        admitted.map_err(|wait| error::of_client(wait.as_secs() + 1))?;
    }
    if arrival.found.is_err() {
        return Err(Code::InvalidInput.into());
    }
    let deprecated = arrival.deprecated.and_then(|at| shared.options.deprecated.get(at));
    if deprecated.is_some_and(|deprecated| deprecated.is_over(shared.services.now_ms())) {
        return Err(Code::Gone.into());
    }
    if shared.options.tls_required && kind != Some(Kind::Probe) && !authenticate::is_secure(shared, request) {
        return Err(Code::TlsRequired.into());
    }
    // A report is only counted.
    if arrival.verdict == Verdict::Refused && kind != Some(Kind::Report) {
        return Err(Code::OriginNotAllowed.into());
    }
    if *request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Ok(None);
    }
    let row = row.ok_or(Code::NotFound)?;
    if *request.method() == Method::OPTIONS {
        return Ok(None);
    }
    if shared.is_draining() && !row.kind.outlives_drain() {
        return Err(Code::ShuttingDown.into());
    }
    let endpoint = row
        .endpoint(request.method())
        .ok_or_else(|| Error::from(Code::MethodNotAllowed).with(Extra::Allow(row.allow)))?;
    enter(shared, row.entry, request).await?;
    Ok(Some(endpoint))
}

/// Looks at the credential of a request, and leaves it for the handler.
async fn enter(shared: &AppState, entry: Entry, request: &HttpRequest) -> Result<(), Error> {
    let scope = match entry {
        Entry::Open => return Ok(()),
        Entry::Checked(scope) => scope,
        Entry::Newcomers => Some(Scope::Devices),
        Entry::Own => None,
    };
    let shown = if signed::concerns(shared, request) {
        authenticate::check_signed(shared, request, signed::judge(shared, request).await?)?
    } else if entry == Entry::Own {
        None
    } else {
        authenticate::check(shared, request, entry == Entry::Newcomers)?
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
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Malformed => Code::InvalidInput.into(),
        Refusal::TooLarge => Code::HeadTooLarge.into(),
        Refusal::Method => Error::from(Code::MethodNotAllowed).with(Extra::Allow(cors::METHODS)),
        Refusal::Late => Code::RequestTimeout.into(),
        Refusal::Overloaded => Code::Overloaded.into(),
    }
}

/// Everything that is known of a request by its head.
pub(super) fn arrival(pipeline: &Pipeline, request: &HttpRequest) -> Arrival {
    let (headers, shared) = (request.headers(), &pipeline.state);
    let normal = path::normal(request.uri().path());
    let covers = |path: &str| shared.options.deprecated.iter().position(|one| one.covers(path));
    let deprecated = normal.as_ref().ok().and_then(|path| covers(path));
    Arrival::new(
        request_id::of(headers),
        normal.map(|path| pipeline.router.find(&path, headers)),
        deprecated,
        Verdict::of(headers, &shared.options.allowed_origins, || authenticate::own(shared, request)),
        request.conn_data::<BodyGate>().and_then(BodyGate::refusal),
    )
}
