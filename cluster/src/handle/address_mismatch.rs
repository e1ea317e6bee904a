//! Peer addresses: what a node is configured with, and what the cluster knows of it.
//!
//! Who belongs to the cluster, and where each member is reached, stands in the log; the configuration only says it for
//! the first start. A node that is alone may change its own address, since nobody else has to learn of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Inner, Options, is_unspecified};
use crate::raft::disk_traits::Member;

/// Where the log and the configuration differ, as `(id, known, configured)`.
fn differences(options: &Options, known: &BTreeMap<u64, Member>) -> Vec<(u64, String, String)> {
    let mut configured = options.members.clone();
    // One that joined may be told of an address that it does not know itself.
    if known.contains_key(&options.node_id) && !is_unspecified(&options.advertise) {
        configured.insert(options.node_id, options.advertise.clone());
    }
    let pairs =
        configured.into_iter().filter_map(|(id, address)| Some((id, known.get(&id)?.peer.clone(), address)));
    pairs.filter(|(_, known, configured)| known != configured).collect()
}

impl Inner {
    /// Tells of addresses that are configured otherwise than the cluster knows them, or changes this node's own if it is
    /// alone. Does nothing before this node is a member.
    pub(super) fn compare_addresses(self: &Arc<Self>) {
        let (voters, nodes) = self.node.members();
        let id = self.options.node_id;
        for (member, known, configured) in differences(&self.options, &nodes) {
            if member == id && voters.iter().eq([&id]) {
                tokio::spawn(self.clone().change_address(known, configured));
            } else if member == id {
                tracing::warn!(
                    node = id,
                    %known,
                    %configured,
                    "the cluster knows this node at another peer address than it is configured with, and goes on calling \
                     it there; start it at the known address, or replace it (see operations.md, Addresses that change)"
                );
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
        let member = Member { peer: configured.clone() };
        match self.node.set_address(self.options.node_id, member).await {
            Ok(()) => {
                tracing::info!(%known, %configured, "this node, which is alone, has another peer address now")
            }
            Err(error) => {
                tracing::warn!(%known, %configured, %error, "this node's peer address was not changed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::raft::Timing;
    use crate::state::leader_rules::Rules;

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
            tls: None,
            secrets: None,
            loopback_only: true,
        };
        let member = |peer: &str| Member { peer: peer.to_owned() };
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
