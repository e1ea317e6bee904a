//! One connection from an address of loopback, with or without TLS, for requests one after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For connecting, and for each answer. What takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How TLS is spoken, and with whom.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The client's side.
    pub config: Arc<ClientConfig>,
    /// The name in the nodes' certificate.
    pub name: ServerName<'static>,
}

/// An open connection.
#[derive(Debug)]
pub struct Line {
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("not connected")]
    Connect,
    /// It broke.
    #[error("broken")]
    Broken,
    /// It took longer than [`PATIENCE`].
    #[error("timed out")]
    Late,
}

impl Line {
    /// Connects from `source`.
    pub async fn open(target: SocketAddr, source: Ipv4Addr, tls: Option<&Tls>) -> Result<Self, Fault> {
        timeout(PATIENCE, Self::connect(target, source, tls)).await.unwrap_or(Err(Fault::Late))
    }

    async fn connect(target: SocketAddr, source: Ipv4Addr, tls: Option<&Tls>) -> Result<Self, Fault> {
        let dial = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((source, 0)))?;
            let stream = socket.connect(target).await?;
            stream.set_nodelay(true)?;
            std::io::Result::Ok(stream)
        };
        let stream = dial.await.map_err(|_| Fault::Connect)?;
        let host = HeaderValue::from_str(&target.to_string()).map_err(|_| Fault::Connect)?;
        let sender = match tls {
            None => shake(stream).await?,
            Some(Tls { config, name }) => {
                let connector = TlsConnector::from(config.clone());
                shake(connector.connect(name.clone(), stream).await.map_err(|_| Fault::Connect)?).await?
            }
        };
        Ok(Self { host, sender })
    }

    /// Sends a request and reads its answer: the status and the body. After an error the connection is of no more use.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<(u16, Bytes), Fault> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, kind)
            .body(Full::new(body))
            .map_err(|_| Fault::Broken)?;
        let answer = async {
            self.sender.ready().await.map_err(|_| Fault::Broken)?;
            let response = self.sender.send_request(request).await.map_err(|_| Fault::Broken)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|_| Fault::Broken)?.to_bytes()))
        };
        timeout(PATIENCE, answer).await.unwrap_or(Err(Fault::Late))
    }
}

async fn shake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, Fault> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Fault::Connect)?;
    // It ends with the sender or with the connection, and tells the sender so.
    tokio::spawn(async move { _ = connection.await });
    Ok(sender)
}
