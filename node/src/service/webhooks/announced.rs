//! Devices that were announced, so that one that registers again and again is announced once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use conclave_cluster::state::id::Key;

/// Devices that are remembered. Beyond it the older half is forgotten, and may be announced again.
const DEVICES_MAX: usize = 8_192;

/// The devices.
// A std mutex: nothing is awaited while it is held.
#[derive(Default)]
pub(super) struct Announced(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

impl Announced {
    /// Has a device announced, unless it was before. It is remembered if `announce` says that somebody is told of it: one that
    /// nobody had room for is announced the next time. Two calls at once announce once.
    pub(super) fn once(&self, device: Key, announce: impl FnOnce() -> bool) {
        // Held meanwhile, so that the second call waits for what comes of the first.
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.old.contains(&device) || halves.young.contains(&device) {
            return;
        }
        if !announce() {
            return;
        }
        if halves.young.len() >= DEVICES_MAX / 2 {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(device);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use conclave_cluster::state::id::Domain;

    use super::*;

    fn device(number: usize) -> Key {
        Key::derive(Domain::Client, &[&number.to_be_bytes()])
    }

    impl Announced {
        fn is_new(&self, device: Key) -> bool {
            let mut was_asked = false;
            self.once(device, || {
                was_asked = true;
                true
            });
            was_asked
        }
    }

    #[test]
    fn a_device_is_new_once_and_memory_is_bounded() {
        let announced = Announced::default();
        assert!(announced.is_new(device(0)) && !announced.is_new(device(0)));
        assert!((1..2 * DEVICES_MAX).all(|number| announced.is_new(device(number))));
        let halves = announced.0.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= DEVICES_MAX);
        drop(halves);
        assert!(announced.is_new(device(0)), "it was forgotten");
        assert!(!announced.is_new(device(2 * DEVICES_MAX - 1)));
    }

    #[test]
    fn a_device_that_nobody_was_told_of_stays_new_and_two_calls_at_once_tell_once() {
        let announced = Announced::default();
        announced.once(device(1), || false);
        let told = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| announced.once(device(1), || told.fetch_add(1, Ordering::Relaxed) == 0));
            }
        });
        assert_eq!(told.into_inner(), 1);
    }
}
