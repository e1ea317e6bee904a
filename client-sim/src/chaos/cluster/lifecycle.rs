//! What is done to one node of a cluster: started, ended, frozen, its disk and its clock.

use std::net::SocketAddr;
use std::time::Duration;

use conclave_supervisor::Signal;

use super::node::Node;
use super::{Cluster, READY};
use crate::chaos::Error;
use crate::chaos::error::During as _;
use crate::chaos::schedule::Version;

impl Cluster {
    /// Starts a node on its disk and addresses. It may not be ready yet.
    pub fn start_node(&mut self, id: u64) -> Result<(), Error> {
        let plan = self.plan.as_ref().ok_or(Error::NotOurs("starting a node"))?;
        let joins = id > plan.nodes;
        let members = if joins { "[]" } else { &self.first };
        let mut settings = vec![
            ("cluster.name".to_owned(), self.name.clone()),
            ("cluster.members".to_owned(), members.to_owned()),
            ("cluster.join".to_owned(), joins.to_string()),
        ];
        if let Some(secret) = &self.secret {
            settings.push(("cluster.secret_file".to_owned(), secret.display().to_string()));
        }
        settings.extend(plan.settings.iter().cloned());
        let node =
            self.nodes.get_mut(&id).ok_or_else(|| Error::NoSuchNode(format!("there is no node {id}")))?;
        let pid = node.spawn(plan, &settings)?;
        if let Some(net) = &self.net {
            net.belongs_to(id, pid);
        }
        Ok(())
    }

    /// Gives one more node a installation, from which it can be started; returns where its peers reach it.
    pub async fn install_node(&mut self, id: u64) -> Result<SocketAddr, Error> {
        let plan = self.plan.as_ref().ok_or(Error::NotOurs("a new node"))?;
        let mut node = Node::install(id, &mut self.ports, plan).await?;
        let installation = node.installation_mut("a new node")?;
        if let Some(net) = &mut self.net {
            let address = net.add(id, installation.listen).await;
            installation.advertise = address.during(|| "opening one more listener".to_owned())?;
        }
        let peer = installation.advertise;
        self.highest_id = self.highest_id.max(id);
        self.nodes.insert(id, node);
        Ok(peer)
    }

    /// Has a node run that version from its next start on.
    pub fn set_version(&mut self, id: u64, version: Version) -> Result<(), Error> {
        self.node_mut(id)?.version = version;
        Ok(())
    }

    /// SIGKILL to all of these, as much at once as can be.
    pub async fn kill(&mut self, ids: &[u64]) -> Result<(), Error> {
        for id in ids {
            self.node_mut(*id)?.signal(Signal::KILL)?;
        }
        for id in ids {
            // Unless it waits for a disk that does not answer.
            self.node_mut(*id)?.gone(READY).await?;
        }
        Ok(())
    }

    /// SIGTERM; waits for the end and returns the exit code, which is absent if a signal ended it.
    pub async fn terminate(&mut self, id: u64, within: Duration) -> Result<Option<i32>, Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::TERM)?;
        node.gone(within).await
    }

    /// Waits for the end of a node that is about to exit by itself, and returns its exit code.
    pub async fn ended(&mut self, id: u64, within: Duration) -> Result<Option<i32>, Error> {
        self.node_mut(id)?.gone(within).await
    }

    /// Whether a node's process has ended, noticed or not.
    pub fn has_ended(&mut self, id: u64) -> Result<bool, Error> {
        Ok(self.node_mut(id)?.look()?.is_some())
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn freeze(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::STOP)?;
        node.frozen = true;
        Ok(())
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::CONT)?;
        node.frozen = false;
        Ok(())
    }

    /// The nodes that are frozen.
    pub fn frozen(&self) -> Vec<u64> {
        self.nodes.values().filter(|node| node.frozen).map(|node| node.id).collect()
    }

    /// Loses the disk of a node that is not running.
    pub fn wipe(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        if node.runs() {
            return Err(Error::NoSuchNode(format!("node {id} still runs")));
        }
        node.installation_mut("losing a disk")?.wipe().during(|| format!("wiping the disk of node {id}"))
    }

    /// Steps a node's wall clock by so many seconds from the right time.
    pub fn set_clock(&mut self, id: u64, seconds: i64) -> Result<(), Error> {
        self.node_mut(id)?.set_clock(seconds)
    }

    /// Makes a node's flushes fail, or no longer.
    pub async fn fail_flushes(&mut self, id: u64, fail: bool) -> Result<(), Error> {
        self.node_mut(id)?.fail_flushes(fail).await
    }
}
