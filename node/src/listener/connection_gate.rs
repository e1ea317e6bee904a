//! How many connections one client may have: a part of all, so that the others find room.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use actix_web::rt::net::TcpStream;
use metrics::Counter;
use rustix::net::SendFlags;

use super::seldom::Seldom;
use crate::access::Network;
use crate::admission::client_identity::Client;
use crate::admission::share::{Refused, Share, Slot};

/// Connections that were closed because their clients had as many as they may.
const REFUSED: &str = "conclave_connections_refused_total";

/// What a client is told before its connection is closed, if it does not speak TLS.
const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
    cache-control: no-store\r\nconnection: close\r\ncontent-length: 97\r\n\r\n\
    {\"error\":\"rate_limit_exceeded\",\"message\":\"Too many connections.\",\"scope\":\"client\",\"retryAfter\":5}";

/// Where connections are counted. Clones are the same.
#[derive(Clone)]
pub(super) struct ConnectionGate(Arc<Inner>);

struct Inner {
    connections: Share,
    trusted: Vec<Network>,
    refused: Counter,
    said: Seldom,
}

impl ConnectionGate {
    pub(super) fn new(connections: Share, trusted: Vec<Network>) -> Self {
        metrics::describe_counter!(
            REFUSED,
            "connections closed because their clients had as many as they may"
        );
        let refused = metrics::counter!(REFUSED);
        Self(Arc::new(Inner { connections, trusted, refused, said: Seldom::default() }))
    }

    /// A place for a connection from `address`; none is needed for a trusted proxy, whose clients are many.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<Option<Slot>, Refused> {
        let Some(address) = address.filter(|address| !self.is_trusted(*address)) else { return Ok(None) };
        match self.0.connections.enter(Client::of(address)) {
            Ok(slot) => Ok(Some(slot)),
            Err(refused) => {
                self.0.refused.increment(1);
                self.say(address);
                Err(refused)
            }
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.0.trusted.iter().any(|network| network.contains(address))
    }

    fn say(&self, address: IpAddr) {
        if let Some(count) = self.0.said.another(Instant::now()) {
            tracing::warn!(
                %address,
                count,
                "connections refused: this client has as many as it may; if it is a proxy, add it to http.trusted_proxies"
            );
        }
    }
}

/// Tells a client that it has too many connections, if the system takes that at once.
pub(super) fn refuse(tcp: &TcpStream) {
    // Not by `try_write`: the runtime does not know yet whether a new connection can be written to, and says no.
    let _ = rustix::net::send(tcp, ANSWER, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::share::Bounds;

    fn gate(client: usize) -> ConnectionGate {
        let bounds = Bounds { all: 10, client, site: 10 };
        ConnectionGate::new(Share::new(bounds), vec!["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn a_client_has_its_part_and_a_trusted_proxy_is_not_counted() {
        let gate = gate(1);
        let (one, proxy) = ("192.0.2.1".parse().ok(), "10.1.2.3".parse().ok());
        let held = gate.enter(one).unwrap();
        assert!(held.is_some());
        assert_eq!(gate.enter(one).unwrap_err(), Refused::Client);
        for _ in 0..20 {
            assert!(gate.enter(proxy).unwrap().is_none());
        }
        drop(held);
        assert!(gate.enter(one).is_ok());
    }

    #[test]
    fn the_refusal_has_its_length() {
        let answer = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["scope"] == "client");
    }
}
