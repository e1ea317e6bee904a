//! Every key, once: its name, type, default, bounds and meaning. The first paragraph of a comment is printed in the
//! template; the reference, `docs/configuration.md`, has all of it.

mod clients;
mod cluster;
mod http;
mod node;
mod socket;
mod webhooks;

pub use clients::{Admission, Allowance, Auth, Ice, Rule, Shares, Tenants, Tiers, Ttl};
pub use cluster::{Cluster, PeerTls, Raft, Storage};
pub use http::{Admin, AdminTls, Http, PublicTls, Telemetry};
pub use node::{Edition, Limits, Log, LogFormat, Node, Shutdown};
pub use socket::Socket;
pub use webhooks::Webhooks;

use super::section_macro::section;

section! { Config {} within {
    /// This process.
    node: Node;
    /// Which features are offered.
    edition: Edition;
    /// The public HTTP API.
    http: Http;
    /// Metrics, health and the control of the cluster: for operators, never for the public.
    admin: Admin;
    /// Metrics and health once more, on a listener that controls nothing: for scrapers and health checks; and traces.
    telemetry: Telemetry;
    /// The other nodes.
    cluster: Cluster;
    /// How the nodes agree. All nodes should have the same values.
    raft: Raft;
    /// What the cluster may hold. All nodes should have the same values.
    ///
    /// Signals, room messages, tickets and remembered answers are never renewed: their TTL is their
    /// age. Invite codes and devices are renewed by whoever holds them and have no other age.
    storage: Storage;
    /// How much of the whole one client may take, so that nobody starves the others.
    ///
    /// A client is one IPv4 address or one IPv6 /64; where a request shows a credential with a
    /// subject, it is the subject. What is replicated is counted exactly, over the whole cluster, and
    /// the values of the leader hold. Beyond a share the answer is 507 with `"scope":"client"`.
    ///
    /// Each node also shares out, by itself, its connections, its TLS handshakes under way, its long
    /// polls (`limits.waits_max`), its jobs (10,000) and the bytes that it holds for connections
    /// (`http.buffers_bytes_max`), by address only. Beyond a share connections are closed, with 429
    /// where there is no TLS; handshakes wait; long polls, jobs and bodies get 429. Behind a proxy of
    /// `http.trusted_proxies` the client is the one that the proxy names, and the proxy's own
    /// connections are not counted. No part of these is smaller than 16, and that of the bytes not
    /// than one body or one message of a socket.
    shares: Shares;
    /// How many requests one client may make, counted exactly over the whole cluster.
    ///
    /// One client is one IPv4 address or one IPv6 /64. A window opens at the client's first request and
    /// admits `limit` requests, over all nodes together: exactly, of those that change something;
    /// nearly, of reads (see [guarantees.md](guarantees.md#limits)).
    ///
    /// The defaults are for an office of 100 devices behind one address:
    ///
    /// * poll: each device polling every 500 ms makes 100 × 2 × 60 = 12,000 a minute; receiving one full
    ///   transfer of 2048 chunks takes as many again. 120,000 leaves room for 52 full transfers a minute
    ///   beside all that polling.
    /// * chunk: 120,000 admits 58 full transfers a minute, 5.5 GiB.
    /// * create: 12 new things a minute for every device.
    /// * lookup: 30 a minute for every device, so that one may look for the other every other second
    ///   until it is there. A miss costs five, so a client makes 600 guesses a minute. What that means
    ///   for codes and pins is computed in [security.md](security.md#guessing).
    /// * signal: 300 a minute for every device; a WebRTC negotiation takes some thirty.
    /// * socket: five sockets that publish 100 short messages a second each, or three that do so at 1 MiB
    ///   a second, come to 30,000.
    ///
    /// A server for the public with few users behind one address may set a tenth of these.
    allowance: Allowance;
    /// Tokens (JWT) that say who a client is and what it may touch.
    ///
    /// Somebody else issues them (RFC 7519); [security.md](security.md#tokens) says what they carry. Key
    /// files and `auth.revoked` are read again within a second of a change, without a restart; a file
    /// that cannot be read changes nothing and is logged.
    auth: Auth;
    /// Organisations: each has a namespace of its own, in which nothing of another one is found.
    ///
    /// Which one a request is of is told by its token (`auth.tenant_claim`) or by its host. The same on all nodes.
    tenants: Tenants;
    /// Long-lived connections: sockets and event streams.
    ///
    /// Counted on each node by itself; a client is counted as for allowances.
    admission: Admission;
    /// STUN and TURN servers that clients are told of, with credentials that lapse.
    ice: Ice;
    /// For how long things live. All nodes should have the same values.
    ttl: Ttl;
    /// Bounds on what one node keeps in memory for its callers.
    limits: Limits;
    /// WebSockets.
    ///
    /// How many sockets a node and a client may have is in `admission`.
    socket: Socket;
    /// What happens at this node, posted to others as it happens.
    ///
    /// Signed as the Standard Webhooks specification has it; what is posted, and what may be lost, is in
    /// [operations.md](operations.md#webhooks). The same on all nodes.
    webhooks: Webhooks;
    /// How the node goes away.
    shutdown: Shutdown;
    /// What is written to standard error.
    log: Log;
} }

impl Config {
    /// Whether there is a credential that a client could show.
    pub fn takes_credentials(&self) -> bool {
        let auth = &self.auth;
        let set = !auth.jwks.is_empty() || !auth.oidc_issuer.is_empty();
        let authority = !self.http.tls.client_ca.as_os_str().is_empty();
        set || !auth.keys.is_empty() || !auth.signing_keys.is_empty() || authority
    }

    /// Whether a client must show one: where that was said, and in enterprise wherever one can be shown.
    pub fn requires_credentials(&self) -> bool {
        let edition = &self.edition;
        let closed = edition.name.is_enterprise() && !edition.allow_anonymous;
        self.auth.required || (closed && self.takes_credentials())
    }
}
