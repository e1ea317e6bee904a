//! What is asked once all is mended: what became of every wish, and what is there.

use std::time::Duration;

use conclave_cluster::Cluster;
use conclave_cluster::state::mailbox;
use conclave_cluster::state::outcome::Outcome;
use tokio::time::sleep;

use super::{RETRY_AFTER, Stage};
use crate::simulation::history::{Fate, Wish};
use crate::simulation::invariants::Violation;
use crate::simulation::workload::{Desk, FLOODED, MAILBOXES, PEERS, REGISTERS, ROOMS, SESSIONS, TRANSFERS};

impl Stage {
    /// Settles what can be settled and reads everything back, on every node.
    pub(super) fn audit(&mut self) -> Result<(), Violation> {
        let members: Vec<u64> = self.members().iter().map(|it| it.id).collect();
        // Whoever still waits for an answer gets one before its deadline.
        let deadline = self.sim.elapsed() + self.desk.plan.deadline * 3 + Duration::from_secs(1);
        while self.sim.elapsed() < deadline && self.desk.has_waiting() {
            self.step()?;
        }
        let one = members[0];
        self.on(one, "unsettled wishes stay unsettled", |desk, cluster| async move {
            loop {
                let unsettled = desk.history.borrow().unsettled();
                if unsettled.is_empty() {
                    return;
                }
                for number in unsettled {
                    desk.settle(&cluster, number).await;
                }
                sleep(RETRY_AFTER).await;
            }
        })?;
        for id in members {
            self.on(id, "a node in good health cannot read", |desk, cluster| async move {
                for register in 0..REGISTERS {
                    read(&desk, &cluster, Wish::Read { register }).await;
                }
                for transfer in 0..TRANSFERS {
                    read(&desk, &cluster, Wish::View { transfer }).await;
                }
                desk.probe_all(&cluster).await;
                for room in 0..ROOMS {
                    read(&desk, &cluster, Wish::Hear { room, after: 0 }).await;
                }
                for session in 0..SESSIONS {
                    read(&desk, &cluster, Wish::Locate { session }).await;
                }
                for peer in 0..PEERS {
                    read(&desk, &cluster, Wish::Holder { peer }).await;
                }
            })?;
        }
        self.on(one, "mailboxes cannot be emptied", |desk, cluster| async move {
            for mailbox in (0..MAILBOXES).chain([FLOODED]) {
                drain(&desk, &cluster, mailbox).await;
            }
        })
    }
}

async fn read(desk: &Desk, cluster: &Cluster, wish: Wish) {
    while !matches!(desk.carry_out(cluster, wish.clone(), None).await, Fate::Saw(_)) {
        sleep(RETRY_AFTER).await;
    }
}

async fn drain(desk: &Desk, cluster: &Cluster, mailbox: u8) {
    loop {
        let wish = Wish::Drain { mailbox, bytes_max: 100_000 };
        let memo = Some(desk.fresh());
        match desk.carry_out(cluster, wish, memo).await {
            Fate::Answered(answer) => match answer.outcome {
                Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) if messages.is_empty() => {
                    return;
                }
                _ => {}
            },
            Fate::Unknown | Fate::Never | Fate::Saw(_) => sleep(RETRY_AFTER).await,
        }
    }
}
