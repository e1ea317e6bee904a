//! The admin API's client: one connection a call, a deadline for each, errors that say what to do.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::api_types::{
    Add, Allowances, ApproveDevice, Audit, Devices, Ended, Failure, Kinds, Lift, Lifted, Listing, LogLevel,
    Publish, Published, ResetAllowances, Revocations, Revoke, Revoked, SetLogLevel, Signal, Signaled, Status,
    Tenants, Transfer, WhichDevice, Whose, WindowsReset,
};
use super::client_tls::{self, ClientTls};
use crate::access::outbound::connect;
use crate::service::audit::Log;
use crate::service::inventory::Id;

/// Bytes of an answer; the longest is the list of ten thousand revocations with the longest names.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const REVOCATIONS: &str = "/admin/v1/revocations";
const DEVICES: &str = "/admin/v1/devices";

/// Why there is no answer, or not the expected one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL that can be called.
    #[error("`{0}` is not an admin URL such as http://127.0.0.1:9400")]
    Url(String),
    /// A file that TLS is made of.
    #[error(transparent)]
    Files(#[from] client_tls::Error),
    /// TLS with it comes to nothing.
    #[error("TLS with {url}: {error}{advice}")]
    Tls {
        /// The URL.
        url: String,
        /// Why.
        error: std::io::Error,
        /// What it may be.
        advice: &'static str,
    },
    /// Nobody listens there.
    #[error(
        "cannot reach {url}: {error}; is the node running, and is this its admin listener (admin.listen)?"
    )]
    Connect {
        /// The URL.
        url: String,
        /// What the connection says.
        error: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to {url} broke before the answer was complete{advice}")]
    Broken {
        /// The URL.
        url: String,
        /// What it may be.
        advice: &'static str,
    },
    /// No answer in time.
    #[error("{url} gave no answer within {}", crate::config::unit::print_span(*.after))]
    TimedOut {
        /// The URL.
        url: String,
        /// The time it had.
        after: Duration,
    },
    /// The node says no.
    #[error("{message} ({code})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The code, for machines.
        code: String,
        /// The sentence, for people.
        message: String,
    },
    /// The public listener answers there.
    #[error(
        "{0} is a public listener (http.listen); the URL of the admin listener is asked for (admin.listen)"
    )]
    Public(String),
    /// It speaks TLS.
    #[error("{0} speaks TLS: https:// in place of http://")]
    Secure(String),
    /// Something else answers there.
    #[error("{0} does not answer like a Conclave admin listener")]
    Stranger(String),
}

/// Which sockets are meant: of a subject, at a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Which {
    /// The organisation of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The `sub` of their tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The node's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
}

impl Which {
    fn query(&self, after: Option<&str>) -> String {
        let which = query(self);
        after.map_or(which.clone(), |after| format!("{}&{which}", query(&[("after", after)])))
    }
}

/// A client for one node's admin API.
#[derive(Debug, Clone)]
pub struct Client {
    host: String,
    port: u16,
    url: String,
    timeout: Duration,
    token: Option<String>,
    /// How TLS is spoken, if it is.
    tls: Option<ClientTls>,
}

impl Client {
    /// A client for the node at `url`, every call of which may take `timeout`. It speaks TLS where the URL says so, and
    /// believes the machine's authorities.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, Error> {
        let wrong = || Error::Url(url.to_owned());
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let (scheme, port, tls) = match uri.scheme_str() {
            Some("http") => ("http", 80, None),
            Some("https") => ("https", 443, Some(ClientTls::new(None, None)?)),
            Some(_) | None => return Err(wrong()),
        };
        let host = uri.host().filter(|_| matches!(uri.path(), "" | "/")).ok_or_else(wrong)?;
        let port = uri.port_u16().unwrap_or(port);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host: bare, port, url: format!("{scheme}://{host}:{port}"), timeout, token: None, tls })
    }

    /// Speaks TLS so, if it does.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        let tls = self.tls.as_ref().map(|_| tls);
        Self { tls, ..self }
    }

    /// Shows this token with every call.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// The cluster, as this node sees it.
    pub async fn status(&self) -> Result<Status, Error> {
        self.read(&self.call(Method::GET, "/cluster/status", Bytes::new()).await?)
    }

    /// The same as the JSON that the node sent, with fields that this program may not know.
    pub async fn status_as_sent(&self) -> Result<Box<RawValue>, Error> {
        self.read(&self.call(Method::GET, "/cluster/status", Bytes::new()).await?)
    }

    /// `Ok` once the node is ready to serve.
    pub async fn ready(&self) -> Result<(), Error> {
        self.call(Method::GET, "/readyz", Bytes::new()).await.map(drop)
    }

    /// Adds a front and returns once it knows the cluster.
    pub async fn add(&self, id: u64, peer: &str) -> Result<(), Error> {
        let body = body(&Add { id, peer: peer.to_owned() });
        let path = format!("/cluster/members?{}", self.change(false));
        self.call(Method::POST, &path, body).await.map(drop)
    }

    /// Gives a front a seat.
    pub async fn promote(&self, id: u64, force: bool) -> Result<(), Error> {
        let path = format!("/cluster/members/{id}/promote?{}", self.change(force));
        self.call(Method::POST, &path, Bytes::new()).await.map(drop)
    }

    /// Gives the seat of a node to a front, and removes the node for ever.
    pub async fn drain(&self, id: u64, force: bool) -> Result<(), Error> {
        let path = format!("/cluster/members/{id}/drain?{}", self.change(force));
        self.call(Method::POST, &path, Bytes::new()).await.map(drop)
    }

    /// Removes a node for ever.
    pub async fn remove(&self, id: u64, force: bool) -> Result<(), Error> {
        let path = format!("/cluster/members/{id}?{}", self.change(force));
        self.call(Method::DELETE, &path, Bytes::new()).await.map(drop)
    }

    /// The query of a change. The node gives up before this client does, so that it can say why.
    fn change(&self, force: bool) -> String {
        let within = self.timeout - (self.timeout / 4).min(Duration::from_secs(1));
        format!("force={force}&withinMs={}", within.as_millis())
    }

    /// Hands leadership over, to the node that is furthest if none is named; says to whom.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, Error> {
        let led = self.call(Method::POST, "/cluster/leader", body(&Transfer { to })).await?;
        self.read(&led).map(|Led { leader }| leader)
    }

    /// Has credentials be worth nothing, for a year unless it is said; says until when, in milliseconds since the Unix epoch.
    pub async fn revoke(&self, whose: Whose, for_seconds: Option<u32>) -> Result<u64, Error> {
        let answer = self.call(Method::POST, REVOCATIONS, body(&Revoke { whose, for_seconds })).await?;
        self.read(&answer).map(|revoked: Revoked| revoked.expires_ms)
    }

    /// Takes a revocation back; false if there was none.
    pub async fn lift(&self, whose: Whose) -> Result<bool, Error> {
        let answer = self.call(Method::POST, &format!("{REVOCATIONS}/lift"), body(&Lift { whose })).await?;
        self.read(&answer).map(|lifted: Lifted| lifted.was_revoked)
    }

    /// All that is revoked.
    pub async fn revocations(&self) -> Result<Revocations, Error> {
        self.read(&self.call(Method::GET, REVOCATIONS, Bytes::new()).await?)
    }

    /// A part of the list of a kind, behind an id; of the sockets of a subject or at a node, where one is named.
    pub async fn list(&self, kind: Kinds, which: &Which, after: Option<&str>) -> Result<Listing, Error> {
        let path = format!("/admin/v1/{}?{}", kind.name(), which.query(after));
        self.read(&self.call(Method::GET, &path, Bytes::new()).await?)
    }

    /// Ends one thing.
    pub async fn end(&self, kind: Kinds, id: Id) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("/admin/v1/{}/{id}", kind.name()), Bytes::new()).await.map(drop)
    }

    /// Ends all sockets of a subject or at a node; says how many.
    pub async fn end_sockets(&self, which: &Which) -> Result<u64, Error> {
        let path = format!("/admin/v1/sockets?{}", which.query(None));
        let Ended { ended } = self.read(&self.call(Method::DELETE, &path, Bytes::new()).await?)?;
        Ok(ended)
    }

    /// All registered devices.
    pub async fn devices(&self) -> Result<Devices, Error> {
        self.read(&self.call(Method::GET, DEVICES, Bytes::new()).await?)
    }

    /// What the node logs.
    pub async fn log_level(&self) -> Result<LogLevel, Error> {
        self.read(&self.call(Method::GET, "/admin/v1/log-level", Bytes::new()).await?)
    }

    /// Has it log something else.
    pub async fn set_log_level(&self, set: &SetLogLevel) -> Result<LogLevel, Error> {
        self.read(&self.call(Method::POST, "/admin/v1/log-level", body(set)).await?)
    }

    /// Has a device let in, if its key is the one that was seen.
    pub async fn approve(&self, device: &ApproveDevice) -> Result<(), Error> {
        self.call(Method::POST, &format!("{DEVICES}/approve"), body(device)).await.map(drop)
    }

    /// Has a device revoked or forgotten: `what` is the verb.
    pub async fn decide<T: DeserializeOwned>(&self, what: &str, device: &WhichDevice) -> Result<T, Error> {
        self.read(&self.call(Method::POST, &format!("{DEVICES}/{what}"), body(device)).await?)
    }

    /// The entries of an audit log behind number `after`, oldest first, a page of them.
    pub async fn audit(&self, log: Log, after: u64) -> Result<Audit, Error> {
        let path = format!("/admin/v1/audit?after={after}&log={}", log.name());
        self.read(&self.call(Method::GET, &path, Bytes::new()).await?)
    }

    /// Says something in a room.
    pub async fn publish(&self, publish: &Publish) -> Result<Published, Error> {
        self.read(&self.call(Method::POST, "/admin/v1/publish", body(publish)).await?)
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: &Signal) -> Result<Signaled, Error> {
        self.read(&self.call(Method::POST, "/admin/v1/signal", body(signal)).await?)
    }

    /// What a client at an address has left, if it is of an organisation by that one's rules.
    pub async fn allowances(&self, address: IpAddr, tenant: Option<&str>) -> Result<Allowances, Error> {
        let asked = query(&[("address", Some(&*address.to_string())), ("tenant", tenant)]);
        self.read(&self.call(Method::GET, &format!("/admin/v1/allowances?{asked}"), Bytes::new()).await?)
    }

    /// Gives a client at an address back all that it spent; says of how many classes of requests something was.
    pub async fn reset_allowances(&self, address: IpAddr) -> Result<WindowsReset, Error> {
        let body = body(&ResetAllowances { address: address.to_string() });
        self.read(&self.call(Method::POST, "/admin/v1/allowances/reset", body).await?)
    }

    /// Organisations; one alone, if it is named.
    pub async fn tenants(&self, tenant: Option<&str>) -> Result<Tenants, Error> {
        let path = format!("/admin/v1/tenants?{}", query(&[("tenant", tenant)]));
        self.read(&self.call(Method::GET, &path, Bytes::new()).await?)
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(answer).map_err(|_| Error::Stranger(self.url.clone()))
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        match tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimedOut { url: self.url.clone(), after: self.timeout }),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let unconnected = |error| Error::Connect { url: self.url.clone(), error };
        let end = Instant::now() + self.timeout;
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(unconnected)?;
        let found: Vec<_> = found.collect();
        let stream = connect::first(&found, end, TcpStream::connect).await.map_err(unconnected)?;
        let Some(tls) = &self.tls else { return self.exchange_on(stream, method, path, body).await };
        let secured = tls.connect(&self.host, stream).await;
        let secured = secured.map_err(|error| {
            let advice = tls.advice(&error);
            Error::Tls { url: self.url.clone(), error, advice }
        })?;
        self.exchange_on(secured, method, path, body).await
    }

    async fn exchange_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        // Where TLS 1.3 is spoken, a client that is not let in learns of it only now.
        let advice = self.tls.as_ref().map_or("; does it speak TLS (https://)?", ClientTls::advice_outside);
        let broken = |_| Error::Broken { url: self.url.clone(), advice };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the sender; its error shows in the answer.
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.url.split_once("://").map_or(self.url.as_str(), |(_, authority)| authority))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|_| Error::Url(self.url.clone()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        driver.abort();
        let cut = |_| Error::Broken { url: self.url.clone(), advice: "" };
        let answer = answer.map_err(cut)?.to_bytes();
        if status.is_success() { Ok(answer) } else { Err(self.refusal(status, &answer)) }
    }

    fn refusal(&self, status: StatusCode, answer: &[u8]) -> Error {
        match serde_json::from_slice::<Failure>(answer) {
            // The admin listener has all paths that this client asks for; the public one has none of them.
            Ok(failure) if failure.error == "not_found" => Error::Public(self.url.clone()),
            Ok(failure) if failure.error == "tls_required" => Error::Secure(self.url.clone()),
            Ok(failure) => {
                let checks = failure.checks.join(", ");
                let message =
                    if checks.is_empty() { failure.message } else { format!("{} {checks}", failure.message) };
                Error::Refused { status, code: failure.error, message }
            }
            Err(_) => Error::Stranger(self.url.clone()),
        }
    }
}

#[derive(serde::Deserialize)]
struct Led {
    leader: u64,
}

/// A query, in which whatever was typed is one value.
fn query(asked: &(impl Serialize + ?Sized)) -> String {
    serde_urlencoded::to_string(asked).unwrap_or_default()
}

fn body(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("a body of plain fields is JSON"))
}

#[cfg(test)]
mod tests;
