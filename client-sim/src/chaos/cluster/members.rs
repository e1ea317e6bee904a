//! Who belongs to the cluster, changed by the server's own command line.

use std::time::Duration;

use super::{Cluster, READY, until};
use crate::chaos::Error;
use crate::chaos::tools::run_at;

/// What is no refusal for good: an election, or a change that is not over.
const IN_PASSING: [&str; 10] = [
    "leader",
    "another change",
    "cannot reach",
    "broke before",
    "gave no answer",
    "did not take over",
    "does not answer",
    "caught up",
    "can be reached",
    "the same command waits on",
];

/// For a node to catch up, or for a cell to give its slots to the others while load runs.
const CHANGE: Duration = Duration::from_secs(300);

impl Cluster {
    /// Starts a node under a fresh id and adds it as a voter of the first cell; returns the id.
    pub async fn grow(&mut self) -> Result<u64, Error> {
        let id = self.add().await?;
        self.command(&["promote", &id.to_string()], "votes now").await?;
        self.ready(id, READY).await?;
        Ok(id)
    }

    /// Starts a node under a fresh id and adds it as a front; returns the id.
    pub async fn add(&mut self) -> Result<u64, Error> {
        let id = self.highest_id + 1;
        let peer = self.install_node(id).await?.to_string();
        self.start_node(id)?;
        let id_text = id.to_string();
        self.command(&["add", &id_text, &peer], "is a front now").await?;
        self.ready(id, READY).await?;
        Ok(id)
    }

    /// Removes a node for ever and ends its process, if it runs.
    pub async fn remove(&mut self, id: u64) -> Result<(), Error> {
        self.let_go(id, "remove").await
    }

    /// The same once a front has its seat, or its cell's slots lie elsewhere.
    pub async fn drain(&mut self, id: u64) -> Result<(), Error> {
        self.let_go(id, "drain").await
    }

    async fn let_go(&mut self, id: u64, how: &str) -> Result<(), Error> {
        if self.plan.is_none() {
            return Err(Error::NotOurs("removing a node"));
        }
        self.node(id)?;
        self.command(&[how, &id.to_string()], "is not a member").await?;
        let gone = async || {
            let status = self.status().await.filter(|status| status.leader.is_some());
            Ok(status.filter(|status| status.nodes.iter().all(|node| node.id != id)).map(|_| ()))
        };
        until(READY, || format!("node {id} is no member any more"), gone).await?;
        // In good order: its clients are sent elsewhere before it ends.
        if self.node(id)?.runs() && self.terminate(id, READY).await.is_err() {
            self.kill(&[id]).await?;
        }
        self.nodes.remove(&id);
        Ok(())
    }

    /// Hands leadership over to a node.
    pub async fn hand_over(&mut self, to: u64) -> Result<(), Error> {
        self.command(&["transfer-leader", &to.to_string()], "leads now").await
    }

    /// Runs `conclave cluster …` against the leader, again where an election was in the way. `done` is what a second
    /// try hears if the first one did it and its answer was lost.
    async fn command(&self, args: &[&str], done: &str) -> Result<(), Error> {
        let plan = self.plan.as_ref().ok_or(Error::NotOurs("changing the members"))?;
        until(
            CHANGE,
            || format!("`conclave cluster {}` succeeds", args.join(" ")),
            async || {
                let leader = self.leader().await?;
                let admin = self.node(leader)?.admin.to_string();
                let all = [&["cluster"], args, &["--url", &admin]].concat();
                match run_at(&plan.binary, all).await {
                    Ok(_) => Ok(Some(())),
                    Err(Error::Tool(said)) if said.contains(done) => Ok(Some(())),
                    Err(Error::Tool(said)) if IN_PASSING.iter().any(|why| said.contains(why)) => Ok(None),
                    Err(Error::Tool(said)) => Err(Error::Refused(said)),
                    Err(error) => Err(error),
                }
            },
        )
        .await
    }
}
