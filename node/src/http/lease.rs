//! Transfers live on while somebody asks for them, without an entry in the log for every question.

use conclave_cluster::Draft;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::transfer::{self, Verb, View};

use super::shared::Shared;
use crate::access::allowance::millis;
use crate::actors::Place;

/// Whether a transfer has lived more than half of its time since it was last touched.
pub(super) fn late(view: &View, ttl_ms: u64, now_ms: u64) -> bool {
    view.expires_ms.saturating_sub(now_ms) < ttl_ms / 2
}

/// Touches a transfer that is late, at most once per half of its time, and waits for nothing.
pub(super) fn keep_alive(shared: &Shared, place: Place, late: bool) {
    if !late {
        return;
    }
    let ttl = shared.services.terms.ttl.chunk;
    let verb = Verb::Touch;
    let ask = Ask::Transfer(transfer::Ask { key: place.key, ttl_ms: millis(ttl), verb });
    shared.services.registry.refresh(place, Draft::of(ask), ttl / 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_late_in_the_second_half_of_its_time() {
        let view = View {
            total: 1,
            received: Vec::new(),
            delivered: 0,
            available: false,
            acknowledged: false,
            expires_ms: 60_000,
        };
        assert!(!late(&view, 60_000, 0));
        assert!(!late(&view, 60_000, 30_000));
        assert!(late(&view, 60_000, 30_001));
        assert!(late(&view, 60_000, 70_000));
    }
}
