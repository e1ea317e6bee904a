//! The handshake, from both ends: TLS if configured, then a greeting each way. Bounded in time by the caller.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frame::{Outgoing, PREFIX_BYTES, Parsed, Role, decode, encode};
use super::hello::Hello;
use super::limits::HELLO_BYTES_MAX;
use super::links::Core;
use super::{Lane, PeerId, Reason, Stream, tls};

/// A connection whose two ends know each other.
pub(super) struct Greeted {
    pub(super) stream: Box<dyn Stream>,
    /// What was read beyond the greeting.
    pub(super) buffer: BytesMut,
    /// What the other end said.
    pub(super) hello: Hello,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Refused(#[from] Reason),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The dialer's end.
pub(super) async fn dial(
    core: &Core,
    stream: Box<dyn Stream>,
    peer: PeerId,
    lane: Lane,
) -> Result<Greeted, Fault> {
    let mut stream = match &core.options.tls {
        Some(tls) => tls.connect(stream, peer).await?,
        None => stream,
    };
    let options = &core.options;
    let hello = Hello::new(&options.cluster, options.node_id, peer, lane, core.run);
    // Even if this fails a refusal may lie there to be read.
    let _ = send(&mut stream, Role::Hello, 0, hello.encode()).await;
    let mut buffer = BytesMut::new();
    let parsed = receive(&mut stream, &mut buffer).await?;
    match parsed.role {
        Role::Hello => {}
        Role::Refusal => return Err(Reason::from_code(parsed.frame.kind).unwrap_or(Reason::Garbage).into()),
        Role::Request | Role::Response | Role::Failure | Role::Ping | Role::Pong => {
            return Err(Reason::Garbage.into());
        }
    }
    let hello = Hello::decode(&parsed.frame.header)?;
    hello.check(&options.cluster, options.node_id)?;
    if hello.from != peer {
        return Err(Reason::Identity.into());
    }
    Ok(Greeted { stream, buffer, hello })
}

/// The accepting end, up to the point where the dialer is known; [`welcome`] or [`refuse`] follows.
pub(super) async fn accept(core: &Core, stream: Box<dyn Stream>) -> Result<Greeted, Fault> {
    let options = &core.options;
    let (mut stream, certificate) = match &options.tls {
        Some(tls) => {
            let (stream, certificate) = tls.accept(stream).await?;
            (stream, Some(certificate))
        }
        None => (stream, None),
    };
    let mut buffer = BytesMut::new();
    let result = async {
        let parsed = receive(&mut stream, &mut buffer).await?;
        if parsed.role != Role::Hello {
            return Err(Fault::Refused(Reason::Garbage));
        }
        let hello = Hello::decode(&parsed.frame.header)?;
        hello.check(&options.cluster, options.node_id)?;
        match certificate {
            Some(certificate) if !tls::carries(&certificate, hello.from) => Err(Reason::Certificate.into()),
            Some(_) | None => Ok(hello),
        }
    };
    match result.await {
        Ok(hello) => Ok(Greeted { stream, buffer, hello }),
        Err(fault) => {
            if let Fault::Refused(reason) = fault {
                refuse(&mut stream, reason).await;
            }
            Err(fault)
        }
    }
}

/// Greets a dialer in return.
pub(super) async fn welcome(core: &Core, greeted: &mut Greeted) -> io::Result<()> {
    let options = &core.options;
    let hello =
        Hello::new(&options.cluster, options.node_id, greeted.hello.from, greeted.hello.lane, core.run);
    send(&mut greeted.stream, Role::Hello, 0, hello.encode()).await
}

/// Tells a dialer why not. Best effort: the connection ends either way.
pub(super) async fn refuse(stream: &mut Box<dyn Stream>, reason: Reason) {
    let _ = send(stream, Role::Refusal, reason as u8, Vec::new()).await;
    let _ = stream.shutdown().await;
}

async fn send(stream: &mut Box<dyn Stream>, role: Role, kind: u8, header: Vec<u8>) -> io::Result<()> {
    let encoded = encode(role, 0, Outgoing { kind, header, ..Outgoing::default() });
    stream.write_all(&[&encoded.head[..], &encoded.header].concat()).await?;
    stream.flush().await
}

/// Reads the first frame. The buffer never grows beyond the limit of a greeting, whatever the bytes claim.
async fn receive(stream: &mut Box<dyn Stream>, buffer: &mut BytesMut) -> Result<Parsed, Fault> {
    buffer.reserve(PREFIX_BYTES + HELLO_BYTES_MAX);
    loop {
        if let Some(parsed) = decode(buffer, HELLO_BYTES_MAX).map_err(|_| Reason::Garbage)? {
            return Ok(parsed);
        }
        if stream.read_buf(buffer).await.map_err(tls::explain)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
