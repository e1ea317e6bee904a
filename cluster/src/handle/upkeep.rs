//! Periodic work, every quarter of a second, and the node's gauges.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use rand::RngExt as _;

use super::{Inner, TICK};
use crate::raft::Role;
use crate::state::slot::CellId;

impl Inner {
    pub(super) async fn tick(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known = BTreeSet::new();
        while self.stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.sequencer.tick();
            self.topology.forget_closed_cells();
            let everybody = self.topology.everybody().into_keys().collect();
            // A link to a node that was removed would be taken for one that is broken.
            known.difference(&everybody).for_each(|id| self.links.forget(*id));
            known = everybody;
            let serving = self.topology.serving_cells();
            if let Some(mut cells) = self.topology.known_cells() {
                cells.extend(&serving);
                self.paths.forget_all_but(&cells);
            }
            self.tokens.forget_closed_windows(self.clock.now_ms());
            // This also makes the path to each cell, so that changes there are heard before anybody waits for one.
            serving.into_iter().for_each(|cell| self.paths.to(cell).proposer.nudge());
        }
    }

    /// A random number.
    pub(super) fn draw(&self) -> u64 {
        self.random.lock().expect("nothing panics while this is held").random()
    }

    pub(super) fn record_metrics(&self) {
        let position = self.node.position();
        metrics::gauge!("conclave_raft_term").set(position.term as f64);
        metrics::gauge!("conclave_raft_is_leader").set(f64::from(u8::from(position.role == Role::Leader)));
        metrics::gauge!("conclave_raft_applied_index").set(position.applied as f64);
        metrics::gauge!("conclave_raft_committed_index").set(position.committed as f64);
        metrics::gauge!("conclave_raft_last_log_index").set(position.last_log as f64);
        metrics::gauge!("conclave_raft_log_bytes").set(position.log_bytes as f64);
        let cell = self.topology.own_cell();
        let (slots, moving) = cell.map_or((0, 0), |cell| self.topology.held(cell));
        let mut all = self.shown_cells.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.topology.cells();
        all.extend(&there);
        for cell in &*all {
            // A removed node hears nobody, and knows no more which cells there are.
            let is_told = there.contains(cell) && !self.removal.is_known();
            let is_led = !is_told || self.topology.lead(*cell).borrow().is_some();
            let gauge = metrics::gauge!("conclave_cell_without_leader", "cell" => cell.number().to_string());
            gauge.set(f64::from(u8::from(!is_led)));
        }
        metrics::gauge!("conclave_cell").set(f64::from(cell.map_or(0, CellId::number)));
        metrics::gauge!("conclave_slots").set(slots as f64);
        metrics::gauge!("conclave_slots_moving").set(moving as f64);
        metrics::gauge!("conclave_clock_ahead_seconds").set(self.clock.ahead_ms() as f64 / 1000.0);
    }
}
