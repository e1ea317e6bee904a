//! Requests that a browser sends on behalf of a page, or to a name that was rebound to this machine.

use std::net::TcpListener;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{HOST, ORIGIN};

use super::error::Error;
use super::host_header;

/// From where the listener can be reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    is_loopback: bool,
}

impl Reach {
    pub(super) fn of(listener: &TcpListener) -> std::io::Result<Self> {
        Ok(Self { is_loopback: listener.local_addr()?.ip().is_loopback() })
    }
}

/// A page in an operator's browser can send requests to loopback. Browsers mark those with `Origin`, tools do not. Only the
/// console's are allowed.
pub(super) fn refusal(request: &ServiceRequest) -> Option<Error> {
    if request.headers().contains_key(ORIGIN) && !asks_its_own(request) {
        return Some(Error::Page);
    }
    let mut hosts = request.headers().get_all(HOST);
    // A tool of HTTP/1.0 names none; a browser always does.
    let foreign = request.app_data::<Reach>().is_none_or(|reach| reach.is_loopback)
        && hosts.any(|host| !host.to_str().is_ok_and(host_header::is_loopback));
    foreign.then_some(Error::Host)
}

/// Whether a page calls the listener that served it (RFC 6454, section 6.1), for something that the console does. Browsers send
/// `Origin` for the console's modules, too.
fn asks_its_own(request: &ServiceRequest) -> bool {
    let only = |name| {
        let mut lines = request.headers().get_all(name);
        lines.next().filter(|_| lines.next().is_none())?.to_str().ok()
    };
    let own = only(HOST).zip(only(ORIGIN)).is_some_and(|(host, origin)| {
        // A proxy in front may speak TLS.
        let authority = ["http://", "https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    // The only changes that the console makes are decisions about devices.
    let decides = request.method() == Method::POST && request.path().starts_with("/admin/v1/devices/");
    own && (request.method() == Method::GET || decides)
}
