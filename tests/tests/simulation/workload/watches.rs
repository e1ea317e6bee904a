//! Watches: those who look whether something is there, and wait until they are told that it came.

use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::state::command::Op;
use conclave_cluster::state::effect::Effect;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::{mailbox, query};
use conclave_cluster::{Cluster, Draft, Hint};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::sleep;

use super::mailboxes::signal;
use super::{Desk, FOREVER_MS};

/// Between two tries of what a watch needs.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Who writes what is watched does so within this time of the look, if nothing goes wrong.
const WRITTEN_WITHIN_MS: u64 = 40;

/// Somebody on a node who waits for a thing of its own, which is written once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    node: u64,
    /// Whether it was looked for, and was not there.
    looked: bool,
    /// Whether it was written since.
    written: bool,
}

/// Keeps a watch noted for as long as whoever waits lives.
struct Watching<'a>(&'a Desk, u64);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.watches.borrow_mut().remove(&self.1);
    }
}

fn watched(number: u64) -> Key {
    Key::derive(Domain::Mailbox, &[b"watched", &number.to_be_bytes()])
}

fn about(number: u64, action: mailbox::Action) -> Draft {
    Draft::of(Op::Mailbox(mailbox::Op { key: watched(number), action }))
}

impl Desk {
    /// One who watches one thing after the other, until the clients stop. What is waited for then is waited for on.
    pub(crate) async fn watch(self: Rc<Self>, cluster: Cluster, mut rng: SmallRng) {
        while !self.closed.get() {
            sleep(Duration::from_millis(rng.random_range(1..=2 * self.plan.think_ms_max))).await;
            if self.closed.get() {
                return;
            }
            let number = self.fresh();
            let watch = Watch { node: cluster.node_id(), looked: false, written: false };
            self.watches.borrow_mut().insert(number, watch);
            let watching = Watching(&self, number);
            self.wait_for(&cluster, number).await;
            drop(watching);
            self.told.set(self.told.get() + 1);
            // Makes room again. What stays if this fails is little.
            let _ = cluster.propose(about(number, mailbox::Action::Drain { bytes_max: u32::MAX })).await;
        }
    }

    /// Says that it waits, looks, and looks again only when it is told of something.
    async fn wait_for(&self, cluster: &Cluster, number: u64) {
        let key = watched(number);
        let _interest = cluster.interest(&key);
        let mut hints = cluster.hints();
        loop {
            match cluster.read_linearizable(query::Waiting(key)).await {
                Ok(0) => {}
                Ok(_) => return,
                Err(_) => {
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            self.watches.borrow_mut().entry(number).and_modify(|watch| watch.looked = true);
            while let Some(hint) = hints.recv().await {
                match hint {
                    Hint::Effect(Effect::Wake(domain, about))
                        if (domain, about) == (Domain::Mailbox, key) =>
                    {
                        break;
                    }
                    Hint::Effect(Effect::Moved(slot)) if slot == key.slot() => break,
                    Hint::WakeAll => break,
                    Hint::Effect(Effect::Wake(..) | Effect::Moved(_)) => {}
                }
            }
        }
    }

    /// One who writes what others wait for, soon after they looked, until the clients stop.
    pub(crate) async fn write_watched(self: Rc<Self>, cluster: Cluster, mut rng: SmallRng) {
        while !self.closed.get() {
            sleep(Duration::from_millis(rng.random_range(1..=WRITTEN_WITHIN_MS))).await;
            let others = |watch: &Watch| watch.looked && !watch.written && watch.node != cluster.node_id();
            let looked: Vec<u64> = {
                let watches = self.watches.borrow();
                watches.iter().filter(|(_, watch)| others(watch)).map(|(number, _)| *number).collect()
            };
            if looked.is_empty() {
                continue;
            }
            let number = looked[rng.random_range(0..looked.len())];
            let written = cluster.propose(about(number, signal(number, FOREVER_MS))).await;
            if written.is_ok_and(|answer| answer.outcome.is_ok()) {
                self.watches.borrow_mut().entry(number).and_modify(|watch| watch.written = true);
            }
        }
    }

    /// Somebody who waits for something that is there, if there is anybody.
    pub(crate) fn untold(&self) -> Option<String> {
        let watches = self.watches.borrow();
        let mut untold = watches.iter().filter(|(_, watch)| watch.written);
        untold.next().map(|(number, watch)| {
            format!("node {} was not told that {number} was written, for which it waits", watch.node)
        })
    }
}
