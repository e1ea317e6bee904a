//! Registers: exchanges and devices that hold one value each.

use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::Domain;
use conclave_cluster::state::{State, device, exchange};

use super::{FOREVER_MS, lasting};
use crate::simulation::history::{Sight, number};

/// Registers that are exchanges; those from here on are devices.
pub(crate) const EXCHANGES: u8 = 5;
/// All registers.
pub(crate) const REGISTERS: u8 = 8;

/// Begins an exchange that a register lives in.
pub(crate) fn found(number: u8) -> Draft {
    let ask = exchange::Ask {
        key: lasting(Domain::Exchange, number),
        ttl_ms: FOREVER_MS,
        verb: exchange::Verb::Create { id: u128::from(number), pin: None },
    };
    Draft::of(Ask::Exchange(ask))
}

/// Puts a value.
pub(super) fn write(register: u8, value: u64) -> Ask {
    if register < EXCHANGES {
        let envelope = Body::new(Bytes::copy_from_slice(&value.to_be_bytes()));
        let verb = exchange::Verb::Put { role: exchange::Role::Offer, envelope };
        let key = lasting(Domain::Exchange, register);
        Ask::Exchange(exchange::Ask { key, ttl_ms: FOREVER_MS, verb })
    } else {
        let key = lasting(Domain::Devices, register);
        Ask::Device(device::Ask { key, verb: device_verb("device", value, FOREVER_MS) })
    }
}

/// Registers a device whose address is a number.
pub(super) fn device_verb(device_id: &str, value: u64, ttl_ms: u32) -> device::Verb {
    let device_id = device_id.to_owned();
    device::Verb::Register { device_id, onion: value.to_string(), port: None, ttl_ms }
}

/// Reads a value back.
pub(super) fn read(register: u8, state: &State, now_ms: u64) -> Sight {
    Sight::Value(if register < EXCHANGES {
        let key = lasting(Domain::Exchange, register);
        match state.envelope(&key, exchange::Role::Offer, now_ms) {
            exchange::Envelope::Present(body) => Some(number(body.bytes())),
            exchange::Envelope::Missing | exchange::Envelope::Expired => None,
        }
    } else {
        let devices = state.devices(&lasting(Domain::Devices, register), now_ms);
        devices.first().and_then(|device| device.onion.parse().ok())
    })
}
