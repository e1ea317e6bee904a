//! Peer addresses: what a node is configured with, and what the cluster knows of it.
//!
//! Who belongs to the cluster, and where each member is reached, stands in the log; the configuration only says it for
//! the first start. A node that is configured with another address for itself tells the leader, who calls it there and
//! writes it down. One that is alone writes it down itself.

use std::sync::Arc;
use std::time::Duration;

use super::admin::{self, Request};
use super::table::Peers;
use super::{Change, Inner, Options, is_unspecified};
use crate::raft::MembershipError;
use crate::raft::message::{self, kind};
use crate::wire::Lane;

/// Where the log and the configuration differ, as `(id, known, configured)`.
fn differences(options: &Options, known: &Peers) -> Vec<(u64, String, String)> {
    let mut configured = options.members.clone();
    // One that joined may be told of an address that it does not know itself.
    if known.contains_key(&options.node_id) && !is_unspecified(&options.advertise) {
        configured.insert(options.node_id, options.advertise.clone());
    }
    let pairs =
        configured.into_iter().filter_map(|(id, address)| Some((id, known.get(&id)?.clone(), address)));
    pairs.filter(|(_, known, configured)| known != configured).collect()
}

impl Inner {
    /// Tells of addresses that are configured otherwise than the cluster knows them, or changes this node's own if it is
    /// alone. Does nothing before this node is a member.
    pub(super) fn compare_addresses(self: &Arc<Self>) {
        let (voters, _) = self.node.members();
        let (nodes, id) = (self.topology.everybody(), self.options.node_id);
        for (member, known, configured) in differences(&self.options, &nodes) {
            if member == id && voters.iter().eq([&id]) {
                tokio::spawn(self.clone().change_address(known, configured));
            } else if member == id {
                tokio::spawn(self.clone().tell_address(known, configured));
            } else {
                tracing::warn!(
                    member,
                    %known,
                    %configured,
                    "cluster.members names another address than the cluster knows, and is not used after the first start; \
                     start that node where it is known, or replace it (see operations.md, Addresses that change)"
                );
            }
        }
    }

    async fn change_address(self: Arc<Self>, known: String, configured: String) {
        let mut lead = self.node.lead();
        let leads =
            async { lead.wait_for(|lead| lead.as_ref().is_some_and(|lead| lead.local)).await.is_ok() };
        if self.stop.run_until_cancelled(leads).await != Some(true) {
            return;
        }
        match self.node.set_address(self.options.node_id, configured.clone()).await {
            Ok(()) => {
                tracing::info!(%known, %configured, "this node, which is alone, has another peer address now")
            }
            Err(error) => {
                tracing::warn!(%known, %configured, %error, "this node's peer address was not changed")
            }
        }
    }
}

/// Between two attempts to tell the cluster of another address.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Inner {
    /// Tells the leader, whom the others know, until it has been written down where this node is reached.
    async fn tell_address(self: Arc<Self>, known: String, configured: String) {
        let telling = async {
            let mut refused = None;
            loop {
                match self.tell_leader(&configured).await {
                    Ok(()) => {
                        return tracing::info!(%known, %configured, "the cluster knows this node's other peer address");
                    }
                    Err(MembershipError::Refused(why)) if refused.as_ref() != Some(&why) => {
                        tracing::warn!(
                            %known,
                            %configured,
                            why,
                            "the cluster knows this node at another peer address than it is configured with, and goes on \
                             calling it there (see operations.md, Addresses that change)"
                        );
                        refused = Some(why);
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(TELL_EVERY).await;
            }
        };
        self.stop.run_until_cancelled(telling).await;
    }

    async fn tell_leader(&self, configured: &str) -> Result<(), MembershipError> {
        let id = self.options.node_id;
        let change = Change { within: CALL_WITHIN, ..Change::default() };
        let request = Request::Move { id, peer: configured.to_owned(), change };
        // Its own cell's, or for a front the first one's.
        let cell = self.node.cell().unwrap_or_default();
        let lead = self.topology.lead(cell).borrow().clone();
        match lead {
            // Whether the others reach it there only another node can find out.
            Some(lead) if lead.local => {
                let (voters, _) = self.node.members();
                admin::transfer(&self.node, None, &voters).await?;
                return Err(MembershipError::NoLeader);
            }
            Some(_) => return self.administer_in(cell, request).await,
            None => {}
        }
        // Nobody finds this node, so it has heard of no leader; but it finds the others.
        let (_, seats) = self.topology.seats(cell);
        // A front that was started just now knows those that it is configured with.
        let members = if seats.is_empty() { self.topology.everybody() } else { seats };
        for (member, at) in members.iter().filter(|(member, _)| **member != id) {
            let Ok(info) = self.info_of(*member, at).await else { continue };
            let Some((leader, at)) = info.position.leader.and_then(|leader| members.get_key_value(&leader))
            else {
                continue;
            };
            let frame = message::of(kind::ADMIN, &request);
            let reply = self.links.call(*leader, at, Lane::Control, frame, CALL_WITHIN * 2).await;
            let reply = reply.map_err(|_| MembershipError::NoLeader)?;
            return message::decode(&reply.header).unwrap_or(Err(MembershipError::NoLeader));
        }
        Err(MembershipError::NoLeader)
    }
}

/// For one attempt of the leader to find this node at its other address.
const CALL_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raft::Timing;
    use crate::state::leader_rules::Rules;
    use crate::state::limits::SLOT_PART_BYTES_MAX;

    #[test]
    fn only_members_that_are_known_elsewhere_are_told() {
        let options = Options {
            node_id: 1,
            cluster_name: "blue".to_owned(),
            listen: "0.0.0.0:1".to_owned(),
            advertise: "a:1".to_owned(),
            members: BTreeMap::from([(1, "a:1".to_owned()), (2, "b:2".to_owned()), (3, "c:3".to_owned())]),
            replicas: 3,
            rules: Rules { storage_bytes_max: 1, ..Rules::default() },
            deadline: Duration::from_secs(1),
            http_url: String::new(),
            admin_url: String::new(),
            timing: Timing::default(),
            slot_part_bytes: SLOT_PART_BYTES_MAX,
            tls: None,
            secrets: None,
            loopback_only: true,
        };
        let member = |peer: &str| peer.to_owned();
        let known = BTreeMap::from([(1, member("a:1")), (2, member("b:9"))]);
        assert_eq!(differences(&options, &known), [(2, "b:9".to_owned(), "b:2".to_owned())]);
        assert_eq!(differences(&options, &BTreeMap::new()), []);
        let joined =
            Options { advertise: "0.0.0.0:1".to_owned(), members: BTreeMap::new(), ..options.clone() };
        assert_eq!(differences(&joined, &known), []);
        let moved = BTreeMap::from([(1, member("z:1"))]);
        assert_eq!(differences(&options, &moved), [(1, "z:1".to_owned(), "a:1".to_owned())]);
    }
}
