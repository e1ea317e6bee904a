//! What the admin API says and hears, as both of its ends read it.

mod access;
mod content;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

pub use access::*;
pub use content::*;

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Whether the node that was asked was removed. It knows nothing of the cluster then, but for who told it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The id of the leader of the first cell, if there is one.
    pub leader: Option<u64>,
    /// Its election term.
    pub term: u64,
    /// Whether enough of the voters are there; older nodes do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<Majority>,
    /// The cells; older nodes do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Cell>,
    /// What the leader of the first cell does next by itself, if anything is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A cell: nodes that hold a part of the slots together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cell {
    /// Its number, from 1.
    pub cell: u16,
    /// Its leader's id, if there is one.
    pub leader: Option<u64>,
    /// Its leader's term.
    pub term: u64,
    /// Whether enough of its voters are there.
    pub majority: Majority,
    /// How many of the 1,024 slots it serves.
    pub slots: usize,
    /// How many are on their way from it to other cells.
    pub moving: usize,
}

/// How many voters there are, and how many of them are needed for anything to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Majority {
    /// All voters.
    pub voters: usize,
    /// Those that the node that was asked reached, itself among them.
    pub reachable: usize,
    /// How many must be reachable.
    pub needed: usize,
}

/// One node of a [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// The node id.
    pub id: u64,
    /// URL of its HTTP API.
    pub http: String,
    /// URL of its admin API.
    pub admin: String,
    /// Its process id.
    pub pid: u32,
    /// `leader`, `follower`, `learner`, `front`, `candidate`, `removed`, `stopped` or `unreachable`.
    pub role: String,
    /// The cell that it has a seat in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<u16>,
    /// The last entry it applied.
    pub applied: u64,
    /// The last entry of its log.
    pub last_log: u64,
    /// Where its peers reach it; older nodes do not say.
    #[serde(default)]
    pub peer: String,
    /// Whether it votes.
    #[serde(default)]
    pub voter: bool,
    /// The last entry that it knows to be committed.
    #[serde(default)]
    pub committed: u64,
    /// The entry up to which its snapshot reaches.
    #[serde(default)]
    pub snapshot: u64,
    /// Bytes of its log on disk.
    #[serde(default)]
    pub log_bytes: u64,
    /// The version of its binary; empty while it is not reached.
    #[serde(default)]
    pub version: String,
    /// Why the node that was asked does not reach it, or why one of the links to it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Status {
    /// Whether the cluster has nothing left to do by itself: each cell has a leader and its share of the slots.
    pub fn is_settled(&self) -> bool {
        let held = || self.cells.iter().map(|cell| cell.slots);
        let even = held().max().unwrap_or_default() <= held().min().unwrap_or_default() + 1;
        let at_rest = self.cells.iter().all(|cell| cell.leader.is_some() && cell.moving == 0);
        self.next_step.is_none() && at_rest && even
    }

    /// The voter to whom leadership can best be handed: the one of the leader's cell that has applied most, other than the
    /// leader.
    pub fn successor(&self) -> Option<u64> {
        let cell = self.nodes.iter().find(|node| Some(node.id) == self.leader).and_then(|node| node.cell);
        let followers = self.nodes.iter().filter(|node| {
            node.role == "follower" && Some(node.id) != self.leader && (cell.is_none() || node.cell == cell)
        });
        followers.max_by_key(|node| (node.last_log, node.applied)).map(|node| node.id)
    }
}

/// A node to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Its id.
    pub id: u64,
    /// Where its peers reach it: `host:port`.
    pub peer: String,
}

/// How a change of members is made: the query of its request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Change {
    /// Whether it is made also where no majority could be reached afterwards.
    #[serde(default)]
    pub force: bool,
    /// For how many milliseconds it may be waited for; absent: two minutes.
    #[serde(default)]
    pub within_ms: Option<u64>,
}

/// A command to hand leadership over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// To whom; absent: whoever is furthest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

macro_rules! kinds {
    ($($variant:ident $name:literal $one:literal;)*) => {
        /// What can be listed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kinds { $(#[doc = $one] $variant),* }

        impl Kinds {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As a path and the command line spell it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Reads a name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

impl PartialSchema for Kinds {
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.iter().map(|kind| kind.name());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for Kinds {}

kinds! {
    Transfers "transfers" "Transfers; parts are chunks.";
    Sessions "sessions" "Offers and answers; parts are envelopes.";
    Mailboxes "mailboxes" "Mailboxes; parts are signals that wait.";
    Rooms "rooms" "Rooms; parts are members.";
    Sockets "sockets" "Sessions of sockets.";
    InviteCodes "invite-codes" "Invite codes.";
    Users "users" "Users with devices; parts are devices.";
}

/// A part of a list of what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// By their ids.
    pub items: Vec<Item>,
    /// Where the next part begins, if there may be more.
    pub next: Option<String>,
}

/// A thing that is stored. Nothing that a client wrote is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The first 16 hexadecimal digits of the hash that it is stored under.
    pub id: String,
    /// When it is over if nobody uses it, in milliseconds since the Unix epoch; absent while a connection holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How many parts it has.
    pub parts: u64,
    /// Of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The node that its connection is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
}

/// What came of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// How many were ended.
    pub ended: u64,
}

/// That something was done, or is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// `ok`
    pub status: String,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leads {
    /// `ok`
    pub status: String,
    /// The leader's id.
    pub leader: u64,
}

/// What a node logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLevel {
    /// What is in force.
    pub level: String,
    /// What it is configured to, and comes back to.
    pub configured: String,
}

/// What a node is to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetLogLevel {
    /// As `log.level` has it.
    pub level: String,
    /// For how many seconds, a day at most; absent: until it starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub for_seconds: Option<u32>,
}

/// An error as every listener of the node words it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The code, for machines.
    pub error: String,
    /// A sentence, for people.
    pub message: String,
    /// The request's id; empty where it was refused before it was one.
    #[serde(default)]
    pub request_id: String,
    /// Which checks fail, where the question was whether the node is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, role: &str, last_log: u64) -> Node {
        Node { id, role: role.to_owned(), applied: last_log, last_log, ..Node::default() }
    }

    #[test]
    fn the_furthest_follower_succeeds() {
        let nodes =
            vec![node(1, "leader", 9), node(2, "follower", 7), node(3, "follower", 8), node(4, "learner", 9)];
        let status = Status {
            removed: false,
            leader: Some(1),
            term: 1,
            majority: None,
            cells: Vec::new(),
            next_step: None,
            nodes,
        };
        assert_eq!(status.successor(), Some(3));
    }

    #[test]
    fn a_cluster_is_settled_when_its_cells_share_the_slots() {
        let majority = Majority { voters: 3, reachable: 3, needed: 2 };
        let cell = |slots, moving| Cell { cell: 1, leader: Some(1), term: 1, majority, slots, moving };
        let status = |cells, next_step: Option<&str>| {
            let next_step = next_step.map(str::to_owned);
            Status {
                removed: false,
                leader: Some(1),
                term: 1,
                majority: None,
                cells,
                next_step,
                nodes: Vec::new(),
            }
        };
        assert!(status(vec![cell(1024, 0)], None).is_settled());
        assert!(status(vec![cell(342, 0), cell(341, 0)], None).is_settled());
        assert!(!status(vec![cell(600, 0), cell(424, 0)], None).is_settled());
        assert!(!status(vec![cell(512, 1), cell(512, 0)], None).is_settled());
        assert!(!status(vec![cell(1024, 0)], Some("found cell 2")).is_settled());
    }

    #[test]
    fn a_single_node_has_no_successor() {
        let nodes = vec![node(1, "leader", 9)];
        assert_eq!(
            Status {
                removed: false,
                leader: Some(1),
                term: 1,
                majority: None,
                cells: Vec::new(),
                next_step: None,
                nodes
            }
            .successor(),
            None
        );
    }
}
