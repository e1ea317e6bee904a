//! A running cluster as its own tools describe it: the line of `conclave dev --json` and `GET /cluster/status`.

use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;
use tokio::time::Instant;

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
    pub role: Option<String>,
    /// The last entry it applied, where the source knows it.
    #[serde(default)]
    pub applied: Option<u64>,
    /// The last entry it holds, where the source knows it.
    #[serde(default)]
    pub last_log: Option<u64>,
}

/// A view of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fleet {
    /// Who leads, if anybody does.
    pub leader: Option<u64>,
    /// Since which election, where the source knows it.
    #[serde(default)]
    pub term: Option<u64>,
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

/// Between two looks while waiting.
const LOOK: Duration = Duration::from_millis(50);

impl Fleet {
    /// Reads the line of `conclave dev --json`, or the body of a status.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(json)?)
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
        let give_up = Instant::now() + patience;
        while Instant::now() < give_up {
            if let Ok(fleet) = Self::ask(admins).await
                && fleet.is_whole(count)
                && !fleet.nodes.iter().any(|node| is_dead(node.pid))
                && fleet.all_ready().await?
            {
                return Ok(fleet);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Error::NotReady(patience))
    }

    /// Where the admin APIs are.
    pub fn admins(&self) -> Result<Vec<Target>, Error> {
        self.nodes.iter().map(|node| Ok(node.admin.parse()?)).collect()
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| Some(node.id) == self.leader)
    }

    /// Whether enough nodes are there and the one said to lead doesn't say otherwise itself.
    fn is_whole(&self, count: usize) -> bool {
        let reachable = |node: &&Node| node.role.as_deref() != Some("unreachable");
        let leads = |node: &Node| node.role.as_deref().is_none_or(|role| role == "leader");
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
        let fleet = Fleet::parse(dev).unwrap();
        assert_eq!(fleet.leader().map(|node| node.pid), Some(7));
        assert!(fleet.is_whole(1) && !fleet.is_whole(2));

        let status = br#"{"leader":null,"term":3,"nodes":[{"id":1,"http":"h","admin":"a","pid":7,"role":"unreachable","applied":1,"last_log":2}]}"#;
        let fleet = Fleet::parse(status).unwrap();
        assert_eq!(fleet.leader(), None);
        assert!(!fleet.is_whole(1));

        let fleet = Fleet { leader: Some(1), ..fleet };
        assert!(!fleet.is_whole(1));
    }
}
