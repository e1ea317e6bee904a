//! Transfers live on while somebody asks for them, without an entry in the log for every question.

use std::time::Duration;

use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::transfer::{self, Action, View};

use super::Services;
use crate::access::tier_limits::millis;
use crate::actors::StateKey;

/// Whether a transfer has lived more than half of its time since it was last touched.
pub fn late(view: &View, ttl_ms: u64, now_ms: u64) -> bool {
    view.expires_ms.saturating_sub(now_ms) < ttl_ms / 2
}

/// Touches a transfer that is late and lives for `ttl`, at most once per half of its time, and waits for nothing.
pub fn keep_alive(services: &Services, target: StateKey, ttl: Duration, late: bool) {
    if !late {
        return;
    }
    let action = Action::Touch;
    let op = Op::Transfer(transfer::Op { key: target.key, ttl_ms: millis(ttl), action });
    services.registry.renew(target, Draft::of(op), ttl / 2);
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
