//! The peer port as a stranger speaks to it, with greetings and frames that are sound or not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use crate::frames::Claim;
use crate::frames::{frame, hello};

/// Long enough that only a defect lets it pass.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a frame is to the link.
pub mod role {
    /// The first frame each way.
    pub const HELLO: u8 = 0;
    /// Instead of a greeting: why there is no connection.
    pub const REFUSAL: u8 = 1;
    /// Something is asked for.
    pub const REQUEST: u8 = 2;
    /// What was asked for.
    pub const RESPONSE: u8 = 3;
    /// That the sender has the secret.
    pub const PROOF: u8 = 7;
}

/// What kinds of requests nodes send each other.
pub mod kind {
    /// Entries, or a heartbeat.
    pub const APPEND: u8 = 1;
    /// The reply of a node that does not do what was asked.
    pub const FAILED: u8 = 255;
    /// A piece of a snapshot.
    pub const SNAPSHOT: u8 = 4;
    /// A change of members.
    pub const ADMIN: u8 = 10;
}

/// A frame as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is to the link.
    pub role: u8,
    /// What kind of message it is.
    pub kind: u8,
    /// Its encoded part.
    pub header: Vec<u8>,
}

/// The number of the disk in a node's directory: the file `identity` ends with it, a marker before it and a checksum behind.
pub fn disk_in(data_dir: &Path) -> u128 {
    let identity = fs::read(data_dir.join("identity")).expect("the node has an identity");
    let (content, _) = identity.split_last_chunk::<4>().expect("a checksum");
    let (_, disk) = content.split_last_chunk::<16>().expect("a number of 128 bits");
    u128::from_le_bytes(*disk)
}

/// A connection to a peer port.
pub struct Stranger {
    stream: TcpStream,
}

impl Stranger {
    /// Connects, says hello, names its disk if it has no secret to prove, and returns what came back to the greeting, if the
    /// connection was not ended first; or the refusal of the disk.
    pub async fn greet(address: SocketAddr, claim: &Claim) -> (Self, Option<Frame>) {
        let stream = TcpStream::connect(address).await.expect("the peer port is open");
        let mut this = Self { stream };
        let answer = this.exchange(role::HELLO, 0, &hello(claim), &[]).await;
        if claim.proves || answer.as_ref().is_none_or(|answer| answer.role != role::HELLO) {
            return (this, answer);
        }
        let proof = this.exchange(role::PROOF, 0, &claim.disk.to_be_bytes(), &[]).await;
        let refusal = proof.filter(|proof| proof.role != role::PROOF);
        (this, refusal.or(answer))
    }

    /// Sends a frame and returns the next one, if the connection does not end instead.
    pub async fn exchange(&mut self, role: u8, kind: u8, header: &[u8], payload: &[u8]) -> Option<Frame> {
        // A node that does not listen any more may have reset the connection; its last word may still be there.
        let _ = self.stream.write_all(&frame(role, kind, header, payload)).await;
        timeout(PATIENCE, self.read()).await.expect("an answer, or the end")
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes(*head.first_chunk().expect("there are eight bytes")) as usize;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Frame { kind: body[0], role: body[1], header: body[16..].to_vec() })
    }
}
