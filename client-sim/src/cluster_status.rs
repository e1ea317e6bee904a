//! A running cluster as its own tools describe it: the line of `conclave dev --json` and `GET /cluster/status`.

use std::collections::BTreeMap;
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
    /// The cell that it has a seat in, where the source knows it.
    #[serde(default)]
    pub cell: Option<u16>,
    /// The last entry it applied, where the source knows it.
    #[serde(default)]
    pub applied: u64,
    /// The last entry it holds, where the source knows it.
    #[serde(default)]
    pub last_log: u64,
}

/// A cell: nodes that hold a part of the slots together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cell {
    /// Its number, from 1.
    pub cell: u16,
    /// Its leader's id, if there is one.
    pub leader: Option<u64>,
    /// Its leader's term.
    pub term: u64,
    /// How many of the [`SLOTS`] it serves.
    pub slots: usize,
    /// How many are on their way from it to other cells.
    pub moving: usize,
}

/// How many slots the keys lie in.
pub const SLOTS: usize = 1_024;

/// A view of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClusterStatus {
    /// Who leads, if anybody does.
    pub leader: Option<u64>,
    /// Since which election, where the source knows it.
    #[serde(default)]
    pub term: u64,
    /// The cells, where the source knows them.
    #[serde(default)]
    pub cells: Vec<Cell>,
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

    /// The nodes that have a seat in a cell.
    pub fn seats(&self, cell: u16) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.cell == Some(cell)).map(|node| node.id).collect()
    }

    /// The number of the cell that is so many in their order, from 1; nothing if there are fewer.
    pub fn nth_cell(&self, place: u16) -> Option<u16> {
        let mut numbers: Vec<u16> = self.cells.iter().map(|cell| cell.cell).collect();
        numbers.sort_unstable();
        numbers.get(usize::from(place).checked_sub(1)?).copied()
    }

    /// Who leads a cell, if anybody does.
    pub fn leader_of(&self, cell: u16) -> Option<u64> {
        self.cells.iter().find(|known| known.cell == cell)?.leader
    }

    /// The last entry that all members of the first cell have applied, if those of every cell have applied the same.
    pub fn applied_alike(&self) -> Option<u64> {
        let mut cells: BTreeMap<u16, u64> = BTreeMap::new();
        let members = self.nodes.iter().filter(|node| node.role != "front");
        for node in members {
            // One that names no cell is of the only one there is.
            let applied = *cells.entry(node.cell.unwrap_or(1)).or_insert(node.applied);
            if applied != node.applied {
                return None;
            }
        }
        cells.get(&1).copied()
    }

    /// What is newest of what nodes say.
    pub fn newest(said: impl IntoIterator<Item = Self>) -> Option<Self> {
        said.into_iter().max_by_key(|status| (status.term, status.leader.is_some()))
    }

    /// What keeps it from being so many cells, each with a leader, that share all slots evenly, with none on its way; nothing
    /// if it is so.
    pub fn unsettled(&self, cells: usize) -> Option<String> {
        if self.cells.len() != cells {
            return Some(format!("there are {} cells", self.cells.len()));
        }
        if let Some(cell) = self.cells.iter().find(|cell| cell.leader.is_none()) {
            return Some(format!("cell {} has no leader", cell.cell));
        }
        let moving: usize = self.cells.iter().map(|cell| cell.moving).sum();
        if moving > 0 {
            return Some(format!("{moving} slots are on their way"));
        }
        let held: Vec<usize> = self.cells.iter().map(|cell| cell.slots).collect();
        let (least, most) = (held.iter().min()?, held.iter().max()?);
        let is_even = held.iter().sum::<usize>() == SLOTS && most - least <= 1;
        (!is_even).then(|| format!("the cells hold {held:?} slots"))
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

    /// Cells with so many slots.
    fn held(slots: &[usize]) -> ClusterStatus {
        let cell =
            |(cell, slots): (u16, &usize)| Cell { cell, leader: Some(1), term: 1, slots: *slots, moving: 0 };
        let cells = (1..).zip(slots).map(cell).collect();
        ClusterStatus { leader: Some(1), term: 1, cells, nodes: Vec::new() }
    }

    #[test]
    fn cells_are_read() {
        let status = br#"{"leader":1,"term":3,
            "cells":[{"cell":1,"leader":1,"term":3,"majority":{"voters":3,"reachable":3,"needed":2},"slots":512,"moving":0},
                     {"cell":2,"leader":null,"term":1,"majority":{"voters":3,"reachable":1,"needed":2},"slots":512,"moving":1}],
            "nodes":[{"id":1,"http":"h","admin":"a","pid":7,"cell":1},{"id":4,"http":"h","admin":"a","pid":8,"cell":2},
                     {"id":5,"http":"h","admin":"a","pid":9,"cell":2},{"id":7,"http":"h","admin":"a","pid":10}]}"#;
        let cluster_status = ClusterStatus::parse(status).unwrap();
        assert_eq!((cluster_status.seats(1), cluster_status.seats(2)), (vec![1], vec![4, 5]));
        assert_eq!((cluster_status.leader_of(1), cluster_status.leader_of(2)), (Some(1), None));
        assert_eq!(cluster_status.unsettled(2).as_deref(), Some("cell 2 has no leader"));
    }

    #[test]
    fn members_of_one_cell_have_to_have_applied_the_same() {
        let node = |(id, cell, role, applied): (u64, Option<u16>, &str, u64)| {
            let role = role.to_owned();
            Node {
                id,
                http: String::new(),
                admin: String::new(),
                pid: 1,
                role,
                cell,
                applied,
                last_log: applied,
            }
        };
        let alike = |nodes: &[_]| {
            ClusterStatus { nodes: nodes.iter().copied().map(node).collect(), ..held(&[]) }.applied_alike()
        };
        let (one, two) = ((1, Some(1), "leader", 9), (2, Some(2), "leader", 5));
        assert_eq!(alike(&[one, two, (3, None, "front", 0)]), Some(9));
        assert_eq!(alike(&[one, two, (3, Some(2), "follower", 4)]), None);
        assert_eq!(alike(&[(1, None, "leader", 9), (2, None, "follower", 9)]), Some(9));
        assert_eq!(alike(&[(1, None, "leader", 9), (2, None, "follower", 8)]), None);
    }

    #[test]
    fn it_is_settled_when_all_slots_lie_evenly_and_none_is_on_its_way() {
        assert_eq!(held(&[1_024]).unsettled(1), None);
        assert_eq!(held(&[342, 341, 341]).unsettled(3), None);
        assert_eq!(held(&[512, 512]).unsettled(3).as_deref(), Some("there are 2 cells"));
        assert_eq!(held(&[513, 511]).unsettled(2).as_deref(), Some("the cells hold [513, 511] slots"));
        assert_eq!(held(&[512, 511]).unsettled(2).as_deref(), Some("the cells hold [512, 511] slots"));
        let mut cluster_status = held(&[512, 512]);
        cluster_status.cells[1].moving = 1;
        assert_eq!(cluster_status.unsettled(2).as_deref(), Some("1 slots are on their way"));
        assert!(held(&[]).unsettled(0).is_none(), "a source that knows of none");
    }

    #[test]
    fn cells_are_counted_in_their_order_whatever_numbers_they_have() {
        let mut cluster_status = held(&[512, 512]);
        cluster_status.cells[1].cell = 4;
        assert_eq!([0, 1, 2, 3].map(|place| cluster_status.nth_cell(place)), [None, Some(1), Some(4), None]);
    }

    #[test]
    fn the_newest_term_speaks_and_in_it_who_knows_its_leader() {
        let said = |leader: &str, term: u64| {
            let text = format!(r#"{{"leader":{leader},"term":{term},"nodes":[]}}"#);
            ClusterStatus::parse(text.as_bytes()).unwrap()
        };
        let leader = |all: [ClusterStatus; 2]| ClusterStatus::newest(all).unwrap().leader;
        assert_eq!(
            leader([said("1", 2), said("null", 0)]),
            Some(1),
            "a node of another cell that hears of no leader"
        );
        assert_eq!(leader([said("1", 2), said("null", 3)]), None, "an election is under way");
        assert_eq!(leader([said("2", 3), said("null", 3)]), Some(2));
        assert_eq!(leader([said("1", 2), said("2", 3)]), Some(2));
    }
}
