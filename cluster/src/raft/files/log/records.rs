//! How ids, votes and payloads are stored in the log's files.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Callback, Types};

use crate::raft::disk_traits::{Flushed, LogId, Payload, Vote};
use crate::raft::message;

/// Largest record that is believed when the log is read back.
const RECORD_BYTES_MAX: u32 = 64 << 20;

pub(super) struct Done(pub(super) Flushed);

impl Callback for Done {
    fn send(self, result: io::Result<()>) {
        (self.0)(result);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Records;

impl Types for Records {
    type LogId = StoredId;
    type LogPayload = StoredPayload;
    type Vote = StoredVote;
    type Callback = Done;
    type UserData = String;

    fn log_index(log_id: &StoredId) -> u64 {
        log_id.0.index
    }

    fn payload_size(payload: &StoredPayload) -> u64 {
        payload.0.size() as u64 + 64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredId(pub(super) LogId);

impl Encode for StoredId {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        out.write_all(&self.0.term.to_be_bytes())?;
        out.write_all(&self.0.index.to_be_bytes())?;
        Ok(16)
    }
}

impl Decode for StoredId {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        let term = u64::from_be_bytes(take(&mut input)?);
        let index = u64::from_be_bytes(take(&mut input)?);
        Ok(Self(LogId { term, index }))
    }
}

impl fmt::Display for StoredId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.term, self.0.index)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) struct StoredVote(pub(super) Vote);

impl Encode for StoredVote {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        out.write_all(&self.0.term.to_be_bytes())?;
        out.write_all(&self.0.node.to_be_bytes())?;
        out.write_all(&[u8::from(self.0.committed)])?;
        Ok(17)
    }
}

impl Decode for StoredVote {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        let term = u64::from_be_bytes(take(&mut input)?);
        let node = u64::from_be_bytes(take(&mut input)?);
        let [committed] = take(&mut input)?;
        Ok(Self(Vote { term, node, committed: committed != 0 }))
    }
}

/// On disk: a tag, the lengths of header and bodies, and the bytes. The crate puts a checksum behind each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredPayload(pub(super) Payload);

const BLANK: u8 = 0;
const MEMBERSHIP: u8 = 1;
const PROPOSAL: u8 = 2;

impl Encode for StoredPayload {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        let membership;
        let (tag, header, bodies): (u8, &[u8], &[Bytes]) = match &self.0 {
            Payload::Blank => (BLANK, &[], &[]),
            Payload::Membership(members) => {
                membership = message::encode(members);
                (MEMBERSHIP, &membership, &[])
            }
            Payload::Proposal { header, bodies } => (PROPOSAL, header, bodies),
        };
        let bodies_len: usize = bodies.iter().map(Bytes::len).sum();
        out.write_all(&[tag])?;
        out.write_all(&(header.len() as u32).to_be_bytes())?;
        out.write_all(&(bodies_len as u32).to_be_bytes())?;
        out.write_all(header)?;
        for body in bodies {
            out.write_all(body)?;
        }
        Ok(9 + header.len() + bodies_len)
    }
}

impl Decode for StoredPayload {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        let [tag] = take(&mut input)?;
        let header = u32::from_be_bytes(take(&mut input)?);
        let bodies = u32::from_be_bytes(take(&mut input)?);
        let header = take_bytes(&mut input, header)?;
        let bodies = take_bytes(&mut input, bodies)?;
        Ok(Self(match tag {
            BLANK => Payload::Blank,
            MEMBERSHIP => Payload::Membership(
                message::decode(&header)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            ),
            PROPOSAL => Payload::Proposal { header, bodies: vec![bodies] },
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an entry of a kind this version cannot read",
                ));
            }
        }))
    }
}

fn take<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads as far as the input goes before it believes a length.
fn take_bytes(input: &mut impl Read, len: u32) -> io::Result<Bytes> {
    if len > RECORD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record longer than any that was written"));
    }
    let mut bytes = Vec::with_capacity(len.min(1 << 20) as usize);
    input.take(u64::from(len)).read_to_end(&mut bytes)?;
    if bytes.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}
