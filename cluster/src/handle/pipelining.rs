//! When the next batch of a node, or the leader's next proposal, goes on its way behind others.
//!
//! The first goes at once, so that nobody waits where nobody else is served. A further one goes when it is worth its price,
//! which is the same however little is in it: when at least half as many commands wait as are on their way, as many where
//! that is a lot, or when it is large. So there are many small ones where few commands come, and few large ones where many
//! do; no timer is needed.

use super::limits::{IN_FLIGHT_MAX, PIPELINE_BYTES, PIPELINE_COMMANDS};

/// What is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) count: usize,
    pub(super) commands: usize,
}

impl InFlight {
    /// Whether so many waiting commands of so many bytes should go now.
    pub(super) fn admits(self, commands: usize, bytes: usize) -> bool {
        let worth_it =
            if self.commands < PIPELINE_COMMANDS { self.commands.div_ceil(2) } else { self.commands };
        let is_worth_it = commands >= worth_it || bytes >= PIPELINE_BYTES;
        self.count == 0 || (self.count < IN_FLIGHT_MAX && is_worth_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_at_once_and_the_next_when_it_is_worth_it() {
        assert!(InFlight { count: 0, commands: 0 }.admits(0, 0));
        let few = InFlight { count: 1, commands: 9 };
        assert!(!few.admits(4, 0) && few.admits(5, 0));
        let many = InFlight { count: 1, commands: PIPELINE_COMMANDS };
        assert!(!many.admits(PIPELINE_COMMANDS - 1, 0) && many.admits(PIPELINE_COMMANDS, 0));
        assert!(many.admits(1, PIPELINE_BYTES), "it is large by itself");
    }

    #[test]
    fn no_more_go_than_the_bound() {
        let most = InFlight { count: IN_FLIGHT_MAX, commands: 1 };
        assert!(!most.admits(1000, 2 * PIPELINE_BYTES));
    }
}
