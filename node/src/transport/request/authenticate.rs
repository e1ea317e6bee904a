//! What stands between a request and the handlers: who it comes from, and what it may touch.
//!
//! Whoever opens a long-lived connection calls, before the upgrade and in this order:
//!
//! 1. [`enter`], which counts it: keep the [`ConnectionPermit`] as long as the connection;
//! 2. [`authenticate`], which looks at the credential and redeems a ticket.
//!
//! The origin has been looked at before any handler runs.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use actix_web::http::header::{HOST, ORIGIN, X_FORWARDED_FOR};
use actix_web::{HttpMessage as _, HttpRequest};
use conclave_cluster::Trace;
use conclave_cluster::state::id::Key;

use super::app_state::AppState;
use super::cors::Own;
use super::error::{Code, Error};
use super::signed::Promised;
use crate::access::admission::ConnectionPermit;
use crate::access::auth::Unverified;
use crate::access::bearer::{self, Shown};
use crate::access::client_certificate::Certificate;
use crate::access::{Credential, client, forwarded_header};
use crate::admission::client_identity::Client;
use crate::listener::Secured;
use crate::service::security_events::{Event, Fault, Proof, digest};
use crate::service::{Caller, tickets};

/// The client, as allowances and admission count it.
pub fn client(shared: &AppState, request: &HttpRequest) -> Key {
    client::key(address(shared, request))
}

/// Who asks, by what was shown.
pub(crate) fn caller(
    shared: &AppState,
    request: &HttpRequest,
    credential: &Credential,
    trace: Option<Trace>,
) -> Caller {
    let tenant = shared.services.auth.tenants().named(credential.tenant.as_deref());
    let owner = client::owner(address(shared, request), credential.subject);
    let owner = tenant.owner(owner, credential.subject.is_some());
    Caller::new(client(shared, request), owner, tenant, trace)
}

/// Takes note of a credential that was refused.
pub(crate) fn note_refused(shared: &AppState, request: &HttpRequest, fault: Fault) {
    let from = Some(address(shared, request));
    shared.services.note(Event::RefusedCredential(fault), from, None);
}

/// Takes note of a refusal, if it is one.
fn noted<T>(shared: &AppState, request: &HttpRequest, verified: Result<T, Unverified>) -> Result<T, Error> {
    verified.map_err(|why| {
        Fault::of(why).into_iter().for_each(|fault| note_refused(shared, request, fault));
        why.into()
    })
}

/// Takes note of a socket that somebody opened who said who he is.
pub(crate) fn note_sign_in(shared: &AppState, request: &HttpRequest, credential: &Credential) {
    let Some(subject) = &credential.subject else { return };
    let proof = match bearer::anywhere(request) {
        Shown::Ticket(_) => Proof::Ticket,
        Shown::Token(_) => Proof::Token,
        Shown::Nothing | Shown::Unclear if request.extensions().get::<Promised>().is_some() => {
            Proof::Signature
        }
        Shown::Nothing | Shown::Unclear => Proof::Certificate,
    };
    let from = Some(address(shared, request));
    shared.services.note(Event::SignIn(proof), from, Some(digest(subject)));
}

/// Places a credential in the organisation that the request's host name means. What is of another one has no business there.
fn in_tenant(
    shared: &AppState,
    request: &HttpRequest,
    shown: Option<Credential>,
) -> Result<Option<Credential>, Error> {
    let tenants = shared.services.auth.tenants();
    let at_host = authority(request).and_then(|authority| tenants.at_host(authority));
    let mut shown = shown;
    if let Some(at_host) = at_host {
        let credential = shown.unwrap_or_else(Credential::anonymous);
        shown = Some(match credential.tenant.as_deref() {
            Some(own) if own != at_host => {
                note_refused(shared, request, Fault::Tenant);
                return Err(Code::Forbidden.into());
            }
            Some(_) => credential,
            None => noted(shared, request, shared.services.auth.placed(credential, at_host))?,
        });
    }
    let Some(credential) = shown.as_ref().filter(|credential| credential.tenant.is_some()) else {
        return Ok(shown);
    };
    let tenant = tenants.named(credential.tenant.as_deref());
    if origin(request).is_some_and(|origin| !tenant.takes_origin(&origin)) {
        return Err(Code::OriginNotAllowed.into());
    }
    Ok(shown)
}

/// The origin of the page that asks, if it is one.
pub(crate) fn origin(request: &HttpRequest) -> Option<Cow<'_, str>> {
    // One that is no text is the origin of no policy.
    request.headers().get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()))
}

/// The client, as this node's shares count it.
pub fn sharer(shared: &AppState, request: &HttpRequest) -> Client {
    Client::of(address(shared, request))
}

/// The client's address: of a trusted proxy's connection the one that the proxy names.
pub(crate) fn address(shared: &AppState, request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let (headers, trusted) = (request.headers(), &shared.options.trusted_proxies);
    // One of the two, since a proxy that writes one of them hands on the other as its client wrote it.
    if headers.contains_key(X_FORWARDED_FOR) {
        let lines = headers.get_all(X_FORWARDED_FOR).map(|line| line.as_bytes());
        client::address(peer, client::forwarded_for(lines), trusted)
    } else {
        client::address(peer, forwarded_header::hops(headers), trusted)
    }
}

/// Counts a long-lived connection in.
///
/// # Errors
/// 429 `rate_limit_exceeded` if the client opens or holds too many, 503 `overloaded` if this node does; both say when
/// to come back.
pub fn enter(shared: &AppState, request: &HttpRequest) -> Result<ConnectionPermit, Error> {
    Ok(shared.options.access.limiter.enter(client(shared, request), Instant::now())?)
}

/// The credential of whoever opens a long-lived connection, wherever the request carries it: a token in `Authorization`,
/// among the offered protocols or in `?token=`, or a ticket in `?ticket=`, which is used up by this. Without one it is
/// [`Credential::anonymous`], unless credentials are required.
///
/// # Errors
/// 401 `unauthorized` if it is missing or worth nothing; 503 if the cluster cannot redeem a ticket now.
pub async fn authenticate(shared: &AppState, request: &HttpRequest) -> Result<Credential, Error> {
    let credential = long_lived(shared, request).await?;
    Ok(in_tenant(shared, request, Some(credential))?.unwrap_or_else(Credential::anonymous))
}

async fn long_lived(shared: &AppState, request: &HttpRequest) -> Result<Credential, Error> {
    if let Some(signed) = request.extensions().get::<Credential>() {
        return Ok(signed.clone());
    }
    let access = &shared.options.access;
    let credential = match bearer::anywhere(request) {
        Shown::Ticket(ticket) => match tickets::redeem(&shared.services, &ticket).await? {
            Some(credential) => credential,
            None => {
                note_refused(shared, request, Fault::Ticket);
                return Err(Code::Unauthorized.into());
            }
        },
        shown => match token(shared, request, shown, false)? {
            Some(credential) => return Ok(credential),
            None => Credential::anonymous(),
        },
    };
    // A ticket outlives neither its credential nor the word of who revoked it.
    noted(shared, request, access.auth.judge(&credential, shared.services.now_ms()))?;
    if access.auth.is_required() && credential.is_anonymous() {
        return Err(Code::Unauthorized.into());
    }
    Ok(credential)
}

/// The credential of a single request, if it shows one or must. `newcomer`: its device need not be let in.
pub(crate) fn check(
    shared: &AppState,
    request: &HttpRequest,
    newcomer: bool,
) -> Result<Option<Credential>, Error> {
    let shown = bearer::header(request.headers());
    let credential = token(shared, request, shown, newcomer)?;
    in_tenant(shared, request, credential)
}

/// The same for one whose signature was judged.
pub(crate) fn check_signed(
    shared: &AppState,
    request: &HttpRequest,
    signed: Credential,
) -> Result<Option<Credential>, Error> {
    in_tenant(shared, request, Some(signed))
}

/// Whether a request came over TLS: to this node, or to a proxy that is trusted and says so.
pub(crate) fn is_secure(shared: &AppState, request: &HttpRequest) -> bool {
    if request.conn_data::<Secured>().is_some() {
        return true;
    }
    if !is_proxied(shared, request) {
        return false;
    }
    // The nearest proxy's word is the last.
    let said = request.headers().get_all("x-forwarded-proto").last().and_then(|line| line.to_str().ok());
    let nearest = said.and_then(|line| line.rsplit(',').next()).map(str::trim).map(str::to_owned);
    let scheme = nearest.or_else(|| forwarded_header::nearest(request.headers(), "proto"));
    scheme.is_some_and(|scheme| ["https", "wss"].iter().any(|it| scheme.eq_ignore_ascii_case(it)))
}

/// The origin of the pages that are served under the address a request was sent to.
pub(crate) fn own(shared: &AppState, request: &HttpRequest) -> Option<Own> {
    let scheme = if is_secure(shared, request) { "https" } else { "http" };
    let said = forwarded_header::nearest(request.headers(), "host").filter(|_| is_proxied(shared, request));
    let authority = || self::authority(request).map(str::to_owned);
    Some(Own { scheme, authority: said.or_else(authority)? })
}

/// The host, and perhaps the port, that a request is sent to. One that stands in the target counts, whatever `Host` says (RFC
/// 9112, section 3.2.2).
pub(crate) fn authority(request: &HttpRequest) -> Option<&str> {
    let target = request.uri().authority().map(|authority| authority.as_str());
    // What stands before an `@` is no host.
    let target = target.map(|authority| authority.rsplit('@').next().unwrap_or(authority));
    target.or_else(|| request.headers().get(HOST)?.to_str().ok())
}

/// Whether a proxy that is trusted handed the request on.
fn is_proxied(shared: &AppState, request: &HttpRequest) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    peer.is_some_and(|peer| shared.options.trusted_proxies.iter().any(|network| network.contains(peer)))
}

/// The credential that a client's certificate is.
fn certified(certificate: Option<&Certificate>) -> Option<Credential> {
    certificate?.credential()
}

fn token(
    shared: &AppState,
    request: &HttpRequest,
    shown: Shown,
    newcomer: bool,
) -> Result<Option<Credential>, Error> {
    let (auth, now_ms) = (&shared.services.auth, shared.services.now_ms());
    let certified = certified(request.conn_data());
    if let Some(credential) = certified.filter(|_| shown == Shown::Nothing || !auth.is_enabled()) {
        // The certificate was looked at when the connection was opened.
        noted(shared, request, auth.judge(&credential, now_ms))?;
        return Ok(Some(credential));
    }
    if !auth.is_enabled() {
        // Clients of servers that ask for credentials may send theirs everywhere.
        return Ok(None);
    }
    match shown {
        Shown::Nothing if !auth.is_required() => Ok(None),
        Shown::Nothing => Err(Code::Unauthorized.into()),
        Shown::Unclear | Shown::Ticket(_) => {
            note_refused(shared, request, Fault::Token);
            Err(Code::Unauthorized.into())
        }
        Shown::Token(token) if newcomer => {
            noted(shared, request, auth.verify_newcomer(&token, now_ms)).map(Some)
        }
        Shown::Token(token) => noted(shared, request, auth.verify(&token, now_ms)).map(Some),
    }
}

/// The credential that was looked at before the handler ran.
pub(crate) fn credential(request: &HttpRequest) -> Credential {
    request.extensions().get::<Credential>().cloned().unwrap_or_else(Credential::anonymous)
}

/// Refuses unless the credential covers it, or what is anybody's.
pub(crate) fn shown(request: &HttpRequest, covers: impl FnOnce(&Credential) -> bool) -> Result<(), Error> {
    let is_covered = match request.extensions().get::<Credential>() {
        Some(credential) => covers(credential),
        None => covers(&Credential::anonymous()),
    };
    if is_covered { Ok(()) } else { Err(Code::Forbidden.into()) }
}
