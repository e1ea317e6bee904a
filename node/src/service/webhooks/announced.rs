//! Devices that were announced, so that one that registers again and again is announced once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use conclave_cluster::state::id::Key;

/// Devices that are remembered. Beyond it the older half is forgotten, and may be announced again.
const DEVICES_MAX: usize = 8_192;

/// The devices.
#[derive(Default)]
pub(super) struct Announced(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

impl Announced {
    /// Remembers a device; false if it was announced before.
    pub(super) fn is_new(&self, device: Key) -> bool {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.old.contains(&device) || halves.young.contains(&device) {
            return false;
        }
        if halves.young.len() >= DEVICES_MAX / 2 {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(device)
    }
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::id::Domain;

    use super::*;

    #[test]
    fn a_device_is_new_once_and_memory_is_bounded() {
        let announced = Announced::default();
        let device = |number: usize| Key::derive(Domain::Client, &[&number.to_be_bytes()]);
        assert!(announced.is_new(device(0)) && !announced.is_new(device(0)));
        assert!((1..2 * DEVICES_MAX).all(|number| announced.is_new(device(number))));
        let halves = announced.0.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= DEVICES_MAX);
        drop(halves);
        assert!(announced.is_new(device(0)), "it was forgotten");
        assert!(!announced.is_new(device(2 * DEVICES_MAX - 1)));
    }
}
