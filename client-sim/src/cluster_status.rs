//! A running cluster as its own tools describe it: the line of `conclave dev --json` and `GET /cluster/status`.

use std::time::Duration;

use conclave_supervisor::until;
use hyper::Uri;
use serde::Deserialize;
use tokio::time::timeout;

use crate::client::{BadTarget, Target};
use crate::sample::{get, is_dead};

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Its id in the cluster.
    pub id: u64,
    /// The public API's base URL.
    pub http: String,
    /// The admin API's base URL.
    pub admin: String,
    /// Its process on this machine.
    pub pid: u32,
    /// Its role where the source knows it.
    #[serde(default)]
    pub role: String,
    /// The last entry it applied, where the source knows it.
    #[serde(default)]
    pub applied: u64,
    /// The last entry it holds, where the source knows it.
    #[serde(default)]
    pub last_log: u64,
}

/// A view of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClusterStatus {
    /// Who leads, if anybody does.
    pub leader: Option<u64>,
    /// Since which election, where the source knows it.
    #[serde(default)]
    pub term: u64,
    /// All members.
    pub nodes: Vec<Node>,
}

/// Why there is no such view.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not the JSON it should be.
    #[error("not a cluster's description: {0}")]
    Json(#[from] serde_json::Error),
    /// A URL in it is unusable.
    #[error("a node's URL is unusable: {0}")]
    Url(#[from] BadTarget),
    /// Nobody said how the cluster is.
    #[error("no node's admin API answered")]
    Silent,
    /// It did not become ready in time.
    #[error("not all nodes became ready within {0:?}")]
    NotReady(Duration),
}

impl ClusterStatus {
    /// Reads the line of `conclave dev --json`, or the body of a status.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(json)?)
    }

    /// What one admin API says, if it answers within that time.
    pub async fn of(admin: &Target, within: Duration) -> Option<Self> {
        let reply = timeout(within, get(admin, &Uri::from_static("/cluster/status"))).await.ok()?.ok()?;
        (reply.status == 200).then(|| Self::parse(&reply.body).ok()).flatten()
    }

    /// Asks the admin APIs in turn until one answers.
    pub async fn ask(admins: &[Target]) -> Result<Self, Error> {
        for admin in admins {
            if let Ok(reply) = get(admin, &Uri::from_static("/cluster/status")).await
                && reply.status == 200
            {
                return Self::parse(&reply.body);
            }
        }
        Err(Error::Silent)
    }

    /// Waits until all of `count` nodes, whose processes run on this machine, are ready and one of them leads.
    pub async fn ready(admins: &[Target], count: usize, patience: Duration) -> Result<Self, Error> {
        let ready = until(patience, async || {
            let seen = Self::ask(admins).await.ok().filter(|seen| seen.is_whole(count))?;
            let runs = !seen.nodes.iter().any(|node| is_dead(node.pid));
            if runs { seen.all_ready().await.map(|ready| ready.then_some(seen)).transpose() } else { None }
        });
        ready.await.unwrap_or(Err(Error::NotReady(patience)))
    }

    /// Where the admin APIs are.
    pub fn admins(&self) -> Result<Vec<Target>, Error> {
        self.nodes.iter().map(|node| Ok(node.admin.parse()?)).collect()
    }

    /// What is known of one node.
    pub fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<&Node> {
        self.node(self.leader?)
    }

    /// Whether enough nodes are there and the one said to lead doesn't say otherwise itself.
    fn is_whole(&self, count: usize) -> bool {
        let reachable = |node: &&Node| node.role != "unreachable";
        let leads = |node: &Node| ["leader", ""].contains(&node.role.as_str());
        self.leader().is_some_and(leads) && self.nodes.iter().filter(reachable).count() >= count
    }

    async fn all_ready(&self) -> Result<bool, Error> {
        for node in &self.nodes {
            let target: Target = node.http.parse()?;
            match get(&target, &Uri::from_static("/readyz")).await {
                Ok(reply) if reply.status == 200 => {}
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_descriptions_are_understood() {
        let dev = br#"{"nodes":[{"id":1,"http":"http://127.0.0.1:1","admin":"http://127.0.0.1:2","pid":7}],"leader":1}"#;
        let cluster_status = ClusterStatus::parse(dev).unwrap();
        assert_eq!(cluster_status.leader().map(|node| node.pid), Some(7));
        assert!(cluster_status.is_whole(1) && !cluster_status.is_whole(2));

        let status = br#"{"leader":null,"term":3,"nodes":[{"id":1,"http":"h","admin":"a","pid":7,"role":"unreachable","applied":1,"last_log":2}]}"#;
        let cluster_status = ClusterStatus::parse(status).unwrap();
        assert_eq!(cluster_status.leader(), None);
        assert!(!cluster_status.is_whole(1));

        let cluster_status = ClusterStatus { leader: Some(1), ..cluster_status };
        assert!(!cluster_status.is_whole(1));
    }
}
