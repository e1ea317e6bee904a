//! Transfers: chunks that are put, taken and acknowledged.

use bytes::Bytes;
use conclave_cluster::Error;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Digest, Domain};
use conclave_cluster::state::{query, transfer};

use super::{FOREVER_MS, Reader, lasting};
use crate::simulation::history::{Sight, TransferSight};

/// Transfers in use; the second half of them is acknowledged now and then.
pub(crate) const TRANSFERS: u8 = 6;
/// Chunks of each.
pub(crate) const CHUNKS: u16 = 10;

/// Whether a transfer may come to be acknowledged and freed.
pub(crate) fn is_acknowledged(transfer: u8) -> bool {
    transfer >= TRANSFERS / 2
}

/// Stores a chunk.
pub(super) fn put(transfer: u8, index: u16, variant: u8) -> Op {
    about(transfer, put_verb(chunk(transfer, index, variant), index, CHUNKS))
}

/// Asks for whatever else a transfer knows.
pub(super) fn about(transfer: u8, action: transfer::Action) -> Op {
    Op::Transfer(transfer::Op { key: lasting(Domain::Transfer, transfer), ttl_ms: FOREVER_MS, action })
}

/// A chunk's bytes: some filling, the index and the variant.
fn chunk(transfer: u8, index: u16, variant: u8) -> Bytes {
    let mut bytes = vec![transfer; 120];
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.push(variant);
    bytes.into()
}

/// A chunk as it is sent.
pub(super) fn put_verb(bytes: Bytes, index: u16, total: u16) -> transfer::Action {
    let digest = Digest::of(&bytes);
    let encoding = transfer::Encoding::Text;
    transfer::Action::Put { index, total: Some(total), digest, encoding, body: Body::new(bytes) }
}

/// What a reader sees of a transfer.
pub(super) async fn view(transfer: u8, reader: Reader<'_>) -> Result<Sight, Error> {
    let view = reader.read(query::Transfer(lasting(Domain::Transfer, transfer))).await?;
    Ok(Sight::Transfer(view.map(|view| {
        TransferSight {
            received: view
                .received
                .iter()
                .flat_map(|&(first, last)| first..=last)
                .fold(0, |bits, index| bits | 1 << index),
            delivered: view.delivered,
            acknowledged: view.acknowledged,
        }
    })))
}
