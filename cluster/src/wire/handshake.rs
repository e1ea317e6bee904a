//! The handshake, from both ends: TLS if configured, then a greeting each way, then a proof each way. Bounded in time by the
//! caller.
//!
//! ```text
//! dialer     Hello ─────────→         Proof ────────→             (Refusal, if the acceptor has another disk)
//! acceptor          ←──────── Hello           ←────── Proof     (Refusal instead of either, and the end)
//! ```
//!
//! A proof is `disk [16] | proofs of the shared secret`, the latter if there is one.

use std::io;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{Outgoing, PREFIX_BYTES, Parsed, Role, decode, encode};
use super::hello::Hello;
use super::limits::HELLO_BYTES_MAX;
use super::links::Core;
use super::peer_disk::PeerDisk;
use super::secret::{Greetings, Side};
use super::{Lane, PeerId, Reason, Stream, certificate_fault, tls};

/// A connection whose two ends know each other.
pub(super) struct Greeted {
    pub(super) stream: Box<dyn Stream>,
    /// What was read beyond the greeting.
    pub(super) buffer: BytesMut,
    /// What the other end said.
    pub(super) hello: Hello,
    /// The disk that it named.
    pub(super) disk: PeerDisk,
}

/// An accepted connection whose dialer is known, and the proof that ends the handshake, which [`welcome`] sends.
pub(super) struct Accepted {
    pub(super) greeted: Greeted,
    proof: Vec<u8>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Refused(#[from] Reason),
    /// [`Reason::Certificate`], and why.
    #[error("{reason}: {0}", reason = Reason::Certificate)]
    Certificate(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Fault {
    /// Why one of the two refused the other, if that is what happened.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(reason) => Some(*reason),
            Self::Certificate(_) => Some(Reason::Certificate),
            Self::Io(_) => None,
        }
    }
}

/// Connects and greets, each within its time.
pub(super) async fn connect(core: &Core, address: &str, peer: PeerId, lane: Lane) -> Result<Greeted, Fault> {
    let limits = &core.options.limits;
    let connecting = core.transport.connect(address);
    let stream = timeout(limits.connect_timeout, connecting).await.map_err(io::Error::from)??;
    timeout(limits.handshake_timeout, dial(core, stream, peer, lane)).await.map_err(io::Error::from)?
}

/// The dialer's end.
async fn dial(core: &Core, stream: Box<dyn Stream>, peer: PeerId, lane: Lane) -> Result<Greeted, Fault> {
    let options = &core.options;
    let mut stream = match &options.tls {
        Some(tls) => tls.connect(stream, &options.cluster, peer).await?,
        None => stream,
    };
    let own = Hello::new(core, peer, lane).encode();
    // Even if this fails a refusal may lie there to be read.
    let _ = send(&mut stream, Role::Hello, 0, own.clone()).await;
    let mut buffer = BytesMut::new();
    let greeting = answer(&mut stream, &mut buffer, Role::Hello).await?;
    let hello = Hello::decode(&greeting)?;
    hello.check(&options.cluster, options.node_id, options.secrets.is_some())?;
    if hello.from != peer {
        return Err(Reason::Identity.into());
    }
    let terms = Terms { core, greetings: Greetings { dialer: &own, acceptor: &greeting } };
    let _ = send(&mut stream, Role::Proof, 0, terms.prove(Side::Dialer)).await;
    let header = answer(&mut stream, &mut buffer, Role::Proof).await?;
    let disk = match terms.judge(Side::Acceptor, peer, &header) {
        Ok(disk) => disk,
        Err(reason) => {
            // The acceptor, which takes itself to be let in, may wait for ever under an id that it cannot have.
            if reason == Reason::Disk {
                refuse(&mut stream, reason).await;
            }
            return Err(reason.into());
        }
    };
    Ok(Greeted { stream, buffer, hello, disk })
}

/// What both sides prove, once both greetings are there.
struct Terms<'a> {
    core: &'a Core,
    greetings: Greetings<'a>,
}

impl Terms<'_> {
    /// The header of this node's proof.
    fn prove(&self, own: Side) -> Vec<u8> {
        let options = &self.core.options;
        let mut header = options.storage.to_be_bytes().to_vec();
        if let Some(secrets) = &options.secrets {
            header.extend(secrets.prove(own, self.greetings, options.storage));
        }
        header
    }

    /// Judges the proof of the other side: first whether it has the secret, then whether its id is bound to its disk.
    fn judge(&self, other: Side, peer: PeerId, header: &[u8]) -> Result<PeerDisk, Reason> {
        let (disk, proofs) = header.split_first_chunk().ok_or(Reason::Garbage)?;
        let disk = u128::from_be_bytes(*disk);
        match &self.core.options.secrets {
            Some(secrets) if !secrets.accept(other, self.greetings, disk, proofs) => {
                return Err(Reason::Secret);
            }
            None if !proofs.is_empty() => return Err(Reason::Garbage),
            Some(_) | None => {}
        }
        let mut disk = PeerDisk::new(peer, disk);
        disk.check(self.core)?;
        Ok(disk)
    }
}

/// The header of the acceptor's next frame, which must have this role; or why it refuses.
async fn answer(stream: &mut Box<dyn Stream>, buffer: &mut BytesMut, wanted: Role) -> Result<Bytes, Fault> {
    let parsed = receive(stream, buffer).await?;
    match parsed.role {
        role if role == wanted => Ok(parsed.frame.header),
        Role::Refusal => Err(match Reason::heard(parsed.frame.kind) {
            // Everything else about a certificate is refused before there are frames.
            Reason::Certificate => Fault::Certificate(
                "the peer refuses this node's: it does not carry this node's name".to_owned(),
            ),
            reason => reason.into(),
        }),
        Role::Hello
        | Role::Proof
        | Role::Request
        | Role::Response
        | Role::Failure
        | Role::Ping
        | Role::Pong => Err(Reason::Garbage.into()),
    }
}

/// The accepting end, up to the point where the dialer is known; [`welcome`] or [`refuse`] follows.
pub(super) async fn accept(core: &Core, stream: Box<dyn Stream>) -> Result<Accepted, Fault> {
    let (mut stream, certificate) = match &core.options.tls {
        Some(tls) => {
            let (stream, certificate) = tls.accept(stream).await?;
            (stream, Some(certificate))
        }
        None => (stream, None),
    };
    let mut buffer = BytesMut::new();
    match identify(core, &mut stream, &mut buffer, certificate).await {
        Ok((hello, disk, proof)) => Ok(Accepted { greeted: Greeted { stream, buffer, hello, disk }, proof }),
        Err(fault) => {
            if let Some(reason) = fault.reason() {
                refuse(&mut stream, reason).await;
            }
            Err(fault)
        }
    }
}

/// Who the dialer is, and the proof that it is told last.
async fn identify(
    core: &Core,
    stream: &mut Box<dyn Stream>,
    buffer: &mut BytesMut,
    certificate: Option<CertificateDer<'static>>,
) -> Result<(Hello, PeerDisk, Vec<u8>), Fault> {
    let options = &core.options;
    let parsed = receive(stream, buffer).await?;
    if parsed.role != Role::Hello {
        return Err(Reason::Garbage.into());
    }
    let greeting = parsed.frame.header;
    let hello = Hello::decode(&greeting)?;
    hello.check(&options.cluster, options.node_id, options.secrets.is_some())?;
    if let Some(certificate) = certificate {
        tls::expect_name(&certificate, &options.cluster, hello.from)?;
    }
    let own = Hello::new(core, hello.from, hello.lane).encode();
    let terms = Terms { core, greetings: Greetings { dialer: &greeting, acceptor: &own } };
    send(stream, Role::Hello, 0, own.clone()).await?;
    let parsed = receive(stream, buffer).await?;
    if parsed.role != Role::Proof {
        return Err(Reason::Garbage.into());
    }
    let disk = terms.judge(Side::Dialer, hello.from, &parsed.frame.header)?;
    Ok((hello, disk, terms.prove(Side::Acceptor)))
}

/// Tells a dialer that it is accepted.
pub(super) async fn welcome(accepted: Accepted) -> io::Result<Greeted> {
    let Accepted { mut greeted, proof } = accepted;
    send(&mut greeted.stream, Role::Proof, 0, proof).await?;
    Ok(greeted)
}

/// Tells the other end why not. Best effort: the connection ends either way.
pub(super) async fn refuse(stream: &mut Box<dyn Stream>, reason: Reason) {
    let _ = send(stream, Role::Refusal, reason as u8, Vec::new()).await;
    let _ = stream.shutdown().await;
}

async fn send(stream: &mut Box<dyn Stream>, role: Role, kind: u8, header: Vec<u8>) -> io::Result<()> {
    let encoded = encode(role, 0, Outgoing { kind, header, ..Outgoing::default() });
    stream.write_all(&[&encoded.head[..], &encoded.header].concat()).await?;
    stream.flush().await
}

/// Reads the next frame. The buffer never grows beyond the limit of a greeting, whatever the bytes claim.
async fn receive(stream: &mut Box<dyn Stream>, buffer: &mut BytesMut) -> Result<Parsed, Fault> {
    buffer.reserve(PREFIX_BYTES + HELLO_BYTES_MAX);
    loop {
        if let Some(parsed) = decode(buffer, HELLO_BYTES_MAX).map_err(|_| Reason::Garbage)? {
            return Ok(parsed);
        }
        if stream.read_buf(buffer).await.map_err(certificate_fault::explain)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

#[cfg(test)]
mod tests;
