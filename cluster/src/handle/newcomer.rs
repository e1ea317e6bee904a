//! How a node is added, as a front.

use std::time::Duration;

use tokio::time::Instant;

use super::admin::{ASK_EVERY, LOOK_EVERY, in_time, late};
use super::table::Peers;
use super::{Draft, Inner, is_loopback, is_unspecified};
use crate::raft::MembershipError;
use crate::raft::message::{self, kind};
use crate::state::command::Op;
use crate::state::limits::FRONTS_MAX;
use crate::state::outcome::Refusal;
use crate::state::placement;
use crate::state::slot::CellId;
use crate::wire::Lane;

/// A node that is added may just be starting.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// For one answer of it.
const REACH_ONCE: Duration = Duration::from_millis(500);

impl Inner {
    /// The node is a front from then on.
    pub(super) async fn add(&self, id: u64, peer: String, deadline: Instant) -> Result<(), MembershipError> {
        let nodes = self.topology.everybody();
        match nodes.get(&id) {
            // One that knows no members, and so cannot say itself that it moved.
            Some(known) if *known != peer && self.topology.fronts().contains_key(&id) => {
                self.move_to(id, peer, deadline).await?;
            }
            Some(known) if *known != peer => {
                let why = format!("node {id} is a member at {known}; remove it first, or choose a fresh id");
                return Err(MembershipError::Refused(why));
            }
            Some(_) if id == self.options.node_id => {}
            // Asked for before: what is left is to wait.
            Some(_) => self.reach(id, &peer, deadline).await?,
            None => {
                self.check_newcomer(id, &peer, &nodes)?;
                if let Err(refused) = self.reach(id, &peer, deadline).await {
                    self.links.forget(id);
                    return Err(refused);
                }
                self.place(placement::Op::Place { node: id, peer }, deadline).await?;
            }
        }
        self.await_told(id, deadline).await
    }

    /// A node is reached at another address from now on. That it is that node shows when it is called there.
    pub(super) async fn move_to(
        &self,
        id: u64,
        peer: String,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let nodes = self.topology.everybody();
        if !nodes.contains_key(&id) {
            return Err(MembershipError::UnknownNode(id));
        }
        let others = nodes.into_iter().filter(|(other, _)| *other != id).collect();
        self.check_address(id, &peer, &others)?;
        if id == self.options.node_id {
            // It was elected by calling the others: that they reach it there is not known.
            return Err(MembershipError::Refused(format!(
                "node {id} leads, and another has to call it at {peer}"
            )));
        }
        if self.reach(id, &peer, deadline).await.is_err() {
            let fault = self.links.fault(id).unwrap_or_else(|| "no answer".to_owned());
            return Err(MembershipError::Refused(format!("node {id} does not answer at {peer} ({fault})")));
        }
        tracing::info!(node = id, address = %peer, "a node is reached at another address from now on");
        if self.topology.fronts().contains_key(&id) {
            return self.place(placement::Op::Place { node: id, peer }, deadline).await;
        }
        in_time(deadline, self.node.set_address(id, peer)).await
    }

    /// Has a change of the fronts written down.
    pub(super) async fn place(&self, op: placement::Op, deadline: Instant) -> Result<(), MembershipError> {
        let placed = self.propose_in(CellId::FIRST, Draft::of(Op::Placement(op)));
        let answer = tokio::time::timeout_at(deadline, placed).await.map_err(|_| late())?;
        match answer.map_err(|_| MembershipError::NoLeader)?.outcome {
            Ok(_) => Ok(()),
            Err(Refusal::Placement(placement::Refusal::Outdated)) => {
                Err(MembershipError::Refused("the placement was changed meanwhile".to_owned()))
            }
            Err(_) => Err(MembershipError::Refused(format!("there are {FRONTS_MAX} fronts already"))),
        }
    }

    /// Waits until a front knows who leads, and who is where.
    async fn await_told(&self, id: u64, deadline: Instant) -> Result<(), MembershipError> {
        while self.topology.fronts().contains_key(&id) && !self.is_told(id) {
            if Instant::now() + LOOK_EVERY >= deadline {
                return Err(MembershipError::Late(format!(
                    "node {id} was added and has not answered yet; the same command waits on"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Whether a node may be added under this id and this address, by what is known without asking it.
    fn check_newcomer(&self, id: u64, peer: &str, nodes: &Peers) -> Result<(), MembershipError> {
        if self.topology.disk_of(id).is_some() {
            return Err(MembershipError::Refused(format!(
                "node {id} was a member before and was removed; an id is not used again, choose a fresh one"
            )));
        }
        self.check_address(id, peer, nodes)
    }

    /// Whether a node can be at this address beside these.
    fn check_address(&self, id: u64, peer: &str, nodes: &Peers) -> Result<(), MembershipError> {
        let refused = |why: String| Err(MembershipError::Refused(why));
        if self.options.loopback_only && !is_loopback(peer) {
            return refused(format!(
                "{peer} is not a loopback address: first give every node the same cluster.secret_file, or cluster.tls"
            ));
        }
        let port = peer.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return refused(format!("`{peer}` is not the host:port of a peer listener"));
        }
        if let Some((other, _)) = nodes.iter().find(|(_, known)| **known == peer) {
            return refused(format!("node {other} is the member at {peer}"));
        }
        if is_unspecified(peer) {
            return refused(format!("`{peer}` is where a node listens, and not where others reach it"));
        }
        let hidden = |peer: &str| is_loopback(peer) || is_unspecified(peer);
        if let Some((other, known)) = nodes.iter().find(|(_, known)| hidden(known))
            && !is_loopback(peer)
        {
            return refused(format!(
                "node {other} is known at {known}, where other machines cannot reach it; start it again with \
                 cluster.advertise or cluster.listen (--peer) set to an address that they can reach, then add node {id}"
            ));
        }
        Ok(())
    }

    /// Waits until the node answers.
    async fn reach(&self, id: u64, peer: &str, deadline: Instant) -> Result<(), MembershipError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + (left / 2).min(REACH_TIMEOUT);
        loop {
            let op = message::bare(kind::STATUS);
            let answer = self.links.call(id, peer, Lane::Control, op, REACH_ONCE).await;
            if answer.as_ref().is_ok_and(|answer| answer.kind == kind::STATUS) {
                return Ok(());
            }
            if Instant::now() + ASK_EVERY >= until {
                return Err(MembershipError::Refused(match answer {
                    Ok(_) => format!(
                        "node {id} answers at {peer} but does not wait to join: start it with --join in an empty directory"
                    ),
                    Err(error) => format!(
                        "node {id} does not answer at {peer} ({}); start it with --join first, and check address, \
                         cluster.name, cluster.secret_file and cluster.tls",
                        self.links.fault(id).unwrap_or_else(|| error.to_string())
                    ),
                }));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}
