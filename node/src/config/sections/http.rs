//! The listeners for HTTP: the public's and the operators'.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::section_macro::section;
use crate::config::unit::{Bytes, hours, kib, mib, minutes, ms, secs};
use crate::config::value_checks::{deprecations, file, http_url, networks, origins, url};
use crate::listener::tls::Minimum;

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

section! { Http {
    /// Address and port; `":3000"` is port 3000 of all addresses. Port 0 takes a free one.
    listen: SocketAddr = loopback(3000);
    /// The URL under which others reach this node, shown in the cluster's status. Empty: `http://<listen>`.
    url: String => url;
    /// Threads that serve requests. 0: half of the processor's cores, at least one.
    ///
    /// Consensus wants the rest.
    workers: usize = 0, ..=1024, "more threads help nobody";
    /// Connections that may wait to be accepted.
    backlog: u32 = 2048, 1..;
    /// Open connections over all workers; more wait in the backlog.
    ///
    /// Fewer if the limit of open files is too low ([operations](operations.md#descriptors)).
    connections_max: usize = 25_000, 1..;
    /// For how long an idle connection stays open.
    keep_alive: Duration = secs(75), secs(1)..=hours(1);
    /// Within this time a request's headers must have arrived.
    ///
    /// Counted from the connection's opening or from the head's first byte on; else 408.
    request_timeout: Duration = secs(10), secs(1)..=minutes(5);
    /// Bytes of one request's body; enforced while reading.
    body_bytes_max: Bytes = kib(256), kib(64)..=mib(64), "a signal of 64KiB, escaped, and a chunk must fit";
    /// Bytes held for all connections: bodies being read, requests in turn, unread answers, messages of sockets. Beyond it
    /// bodies are refused and slow readers closed.
    ///
    /// At least `http.body_bytes_max` and `socket.message_bytes_max`. Bodies are refused with 503. A socket that holds
    /// something is not read, and closed with 1013 after 5 s. One client may have `shares.client_percent` of it; beyond,
    /// the same goes for that client alone, whose bodies get 429.
    buffers_bytes_max: Bytes = mib(128), mib(1)..;
    /// Answers with gzip or brotli where that is safe.
    compression: bool = true;
    /// Serves a page that sends files from device to device at /, and the JavaScript client.
    ///
    /// See [the page](javascript.md#the-page).
    page: bool = true;
    /// Clients come over TLS that a proxy in front ends: sends Strict-Transport-Security.
    behind_tls: bool;
    /// Clients come without TLS from other machines, and that is meant: nothing warns of it.
    insecure: bool;
    /// Web origins that may call, such as `"https://app.example"`. `"*"`: any, without credentials.
    allowed_origins: Vec<String> = vec!["*".to_owned()] => origins;
    /// Networks such as `"10.0.0.0/8"` whose X-Forwarded-For, or Forwarded where there is none, is believed.
    ///
    /// Likewise `X-Forwarded-Proto`. `Forwarded` is that of RFC 7239.
    trusted_proxies: Vec<String> => networks;
    /// Networks of proxies that begin each connection with a header of the PROXY protocol (version 1 or 2): send-proxy.
    ///
    /// See [a proxy](security.md#tls-towards-clients).
    proxy_protocol: Vec<String> => networks;
    /// Paths that clients should leave: `"/v1 since 2027-01-31 until 2027-12-31 for /api/v1"`; `until` and `for` as
    /// needed.
    ///
    /// It holds for everything under them. Answers carry `Deprecation`, `Sunset` and `Link`; after the last day they
    /// are 410. At most 32.
    deprecated: Vec<String> => deprecations;
} within {
    /// TLS towards the public: certificate and key, or neither. Read again when a file changes, and on SIGHUP.
    ///
    /// Files that cannot be used leave everything as it was, are logged as an error and counted in
    /// `conclave_tls_reloads_total{result="failed"}`. A change is noticed within a second.
    tls: PublicTls;
} }

section! { PublicTls {
    /// PEM file of the certificate, with those between it and its authority. Empty: no TLS here.
    cert: PathBuf;
    /// PEM file of its private key.
    key: PathBuf;
    /// PEM file of authorities; then clients must have a certificate of theirs, which is a credential. Empty: none.
    ///
    /// See [TLS towards clients](security.md#tls-towards-clients).
    client_ca: PathBuf;
    /// The oldest version of TLS: `"1.3"` or `"1.2"`.
    minimum: Minimum;
    /// How long a handshake may take.
    handshake_timeout: Duration = secs(5), ms(100)..=minutes(1);
    /// Refuses what did not come over TLS with 426, here or at a trusted proxy (X-Forwarded-Proto), but for probes.
    required: bool;
} }

impl PublicTls {
    /// Whether the node speaks TLS itself.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Of the node's own URL.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

section! { Admin {
    /// Address and port. Whoever may call it controls the cluster. Port 0 takes a free one.
    ///
    /// On loopback every process of the machine may, unless `admin.require_token` says otherwise. Without `admin.tls` it
    /// is not encrypted: beyond loopback keep it within a private network, or behind a proxy that speaks TLS.
    listen: SocketAddr = loopback(9400);
    /// The URL shown in the cluster's status. Empty: `http://<listen>`, or `https://<listen>` with `admin.tls.cert`.
    url: String => url;
    /// Callers show the token on loopback, too, and beside a certificate. Beyond loopback they always do, unless
    /// `admin.tls.client_ca` asks for a certificate.
    ///
    /// `/livez`, `/readyz` and the console's own files are answered to anybody.
    require_token: bool;
    /// The file with the token. Empty: admin-token in node.data_dir. It is made at the first start that asks for one.
    ///
    /// One line of 32 to 512 characters. Give all nodes the same, so that one token is good for all of them.
    token_file: PathBuf;
    /// Requests a second of one address, in the long run; beyond that it gets 429. Those that show no token where one is asked
    /// for are counted by themselves.
    per_second: u32 = 100, 1..;
    /// How many of them at once.
    burst: u32 = 1_000, 1..;
    /// Writes down, summed up, who signs in to sockets and what credentials, peers and admin calls are refused.
    ///
    /// See [audit](security.md#audit). `conclave audit --log security` shows it.
    security_events: bool = true;
} within {
    /// TLS towards operators: certificate and key, or neither. Read again when a file changes, and on SIGHUP.
    tls: AdminTls;
} }

section! { AdminTls {
    /// PEM file of the certificate, with those between it and its authority. Empty: no TLS here.
    cert: PathBuf;
    /// PEM file of its private key.
    key: PathBuf;
    /// PEM file of authorities; then callers must have a certificate of theirs, and need no token. Empty: none.
    ///
    /// Whoever has one may do everything: name an authority that signs for operators alone. It is asked of health
    /// checks and scrapers, too; `telemetry.listen` asks for none.
    client_ca: PathBuf;
} }

impl AdminTls {
    /// Whether the listener speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Of the listener's own URL.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

section! { Telemetry {
    /// Address and port of /metrics, /livez and /readyz. Empty: none but admin.listen.
    listen: Option<SocketAddr>;
    /// Where a span of each request is sent by OTLP, such as `"https://collector.example:4318/v1/traces"`. Empty: nowhere.
    ///
    /// Only in a binary that was built for it ([traces](operations.md#traces)). `https`, or `http` of this machine alone.
    otlp_endpoint: String => http_url;
    /// PEM file of the authorities of `telemetry.otlp_endpoint`. Empty: those that this machine believes in.
    otlp_ca: PathBuf => file;
    /// The collector may be at a private, loopback, link-local or other address that is not of the public internet.
    otlp_allow_private: bool;
} }
