//! What is asked once all is mended: what became of every command, and what is there.

use std::time::Duration;

use conclave_cluster::Cluster;
use conclave_cluster::state::mailbox;
use conclave_cluster::state::outcome::Outcome;
use tokio::time::sleep;

use super::{RETRY_AFTER, Stage};
use crate::simulation::history::{Command, Fate};
use crate::simulation::invariants::Violation;
use crate::simulation::workload::{Desk, FLOODED, MAILBOXES, PEERS, REGISTERS, ROOMS, SESSIONS, TRANSFERS};

impl Stage {
    /// Settles what can be settled and reads everything back, on every node. Once more, if a change of members that was
    /// under way came to its end meanwhile, and took one of those away that were asked.
    pub(super) fn audit(&mut self) -> Result<(), Violation> {
        loop {
            let members = self.member_ids();
            let Err(unanswered) = self.audit_on(&members) else { return Ok(()) };
            self.settle_members()?;
            if self.member_ids() == members {
                return Err(unanswered);
            }
        }
    }

    pub(super) fn member_ids(&self) -> Vec<u64> {
        self.members().iter().map(|it| it.id).collect()
    }

    fn audit_on(&mut self, members: &[u64]) -> Result<(), Violation> {
        // Whoever still waits for an answer gets one before its deadline.
        let deadline = self.sim.elapsed() + self.desk.plan.deadline * 3 + Duration::from_secs(1);
        while self.sim.elapsed() < deadline && self.desk.has_waiting() {
            self.step()?;
        }
        let one = members[0];
        self.on(one, "unsettled commands stay unsettled", |desk, cluster| async move {
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
        for &id in members {
            self.on(id, "a node in good health cannot read", |desk, cluster| async move {
                for register in 0..REGISTERS {
                    read(&desk, &cluster, Command::Read { register }).await;
                }
                for transfer in 0..TRANSFERS {
                    read(&desk, &cluster, Command::View { transfer }).await;
                }
                desk.probe_all(&cluster).await;
                for room in 0..ROOMS {
                    read(&desk, &cluster, Command::Hear { room, after: 0 }).await;
                }
                for session in 0..SESSIONS {
                    read(&desk, &cluster, Command::Locate { session }).await;
                }
                for peer in 0..PEERS {
                    read(&desk, &cluster, Command::Holder { peer }).await;
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

async fn read(desk: &Desk, cluster: &Cluster, command: Command) {
    while !matches!(desk.carry_out(cluster, command.clone(), None).await, Fate::Saw(_)) {
        sleep(RETRY_AFTER).await;
    }
}

async fn drain(desk: &Desk, cluster: &Cluster, mailbox: u8) {
    loop {
        let command = Command::Drain { mailbox, bytes_max: 100_000 };
        let idempotency_key = Some(desk.fresh());
        match desk.carry_out(cluster, command, idempotency_key).await {
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
