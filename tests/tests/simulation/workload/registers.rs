//! Registers: negotiations and devices that hold one value each.

use bytes::Bytes;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Domain;
use conclave_cluster::state::{device, negotiation, query};
use conclave_cluster::{Draft, Error};

use super::{FOREVER_MS, Reader, lasting};
use crate::simulation::history::{Sight, number};

/// Registers that are negotiations; those from here on are devices.
pub(crate) const EXCHANGES: u8 = 5;
/// All registers.
pub(crate) const REGISTERS: u8 = 8;

/// Begins a negotiation that a register lives in.
pub(crate) fn found(number: u8) -> Draft {
    let op = negotiation::Op {
        key: lasting(Domain::Negotiation, number),
        ttl_ms: FOREVER_MS,
        action: negotiation::Action::Create { id: u128::from(number), pin: None },
    };
    Draft::of(Op::Negotiation(op))
}

/// Puts a value.
pub(super) fn write(register: u8, value: u64) -> Op {
    if register < EXCHANGES {
        let envelope = Body::new(Bytes::copy_from_slice(&value.to_be_bytes()));
        let action = negotiation::Action::Put { role: negotiation::Role::Offer, envelope };
        let key = lasting(Domain::Negotiation, register);
        Op::Negotiation(negotiation::Op { key, ttl_ms: FOREVER_MS, action })
    } else {
        let key = lasting(Domain::Devices, register);
        Op::Device(device::Op { key, action: device_verb("device", value, FOREVER_MS) })
    }
}

/// Registers a device whose address is a number.
pub(super) fn device_verb(device_id: &str, value: u64, ttl_ms: u32) -> device::Action {
    let device_id = device_id.to_owned();
    device::Action::Register { device_id, onion: value.to_string(), port: None, ttl_ms }
}

/// Reads a value back.
pub(super) async fn read(register: u8, reader: Reader<'_>) -> Result<Sight, Error> {
    Ok(Sight::Value(if register < EXCHANGES {
        let key = lasting(Domain::Negotiation, register);
        match reader.read(query::Envelope(key, negotiation::Role::Offer)).await? {
            negotiation::Envelope::Present(body) => Some(number(body.bytes())),
            negotiation::Envelope::Missing | negotiation::Envelope::Expired => None,
        }
    } else {
        let devices = reader.read(query::Devices(lasting(Domain::Devices, register))).await?;
        devices.first().and_then(|device| device.onion.parse().ok())
    }))
}
