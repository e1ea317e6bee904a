//! Everything that can be done to a cluster.

use std::fmt;
use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::span::Span;
use crate::chaos::tools::Need;

/// Which nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
#[strum(serialize_all = "kebab-case")]
pub enum Which {
    /// Whoever leads at that moment.
    Leader,
    /// One that runs and does not lead.
    Follower,
    /// One that runs.
    Random,
    /// All.
    All,
    /// Those that the last step was about that named any but these.
    Same,
    /// The one with this id.
    #[strum(to_string = "{0}")]
    Id(u64),
    /// Of those with a seat in a cell.
    #[strum(to_string = "seats ({0})")]
    Of(Seats),
}

/// Nodes of one cell: `{ cell = 2 }` are all of them, `{ cell = 2, count = 2 }` any two that run, `{ cell = 2, role =
/// "leader" }` whoever leads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seats {
    /// Which of the cells that there are, from 1: a cell that was closed leaves its number to nobody.
    pub cell: u16,
    /// How many of those that run; absent: all, running or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Only those with this part in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Part>,
}

/// A node's part in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Part {
    /// It leads.
    Leader,
    /// It does not.
    Follower,
}

impl fmt::Display for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(count) = self.count {
            write!(f, "{count} of ")?;
        }
        match self.role {
            Some(part) => write!(f, "the {part} of cell {}", self.cell),
            None => write!(f, "cell {}", self.cell),
        }
    }
}

impl TryFrom<toml::Value> for Which {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let which = match &value {
            toml::Value::Integer(id) => u64::try_from(*id).ok().map(Self::Id),
            toml::Value::Table(seats) => seats.clone().try_into().ok().map(Self::Of),
            word => {
                let which = word.as_str().and_then(|word| word.parse().ok());
                which.filter(|which| !matches!(which, Self::Id(_) | Self::Of(_)))
            }
        };
        which.ok_or_else(|| {
            format!(
                "{value} is no node: leader, follower, random, all, same, the number of one, or {{ cell, count, role }}"
            )
        })
    }
}

impl From<Which> for toml::Value {
    fn from(which: Which) -> Self {
        match which {
            Which::Id(id) => Self::Integer(id.cast_signed()),
            Which::Of(seats) => Self::try_from(seats).expect("three plain fields are a table"),
            word => Self::String(word.to_string()),
        }
    }
}

/// What is done to a node's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamagedPart {
    /// A bit in the middle of what the log holds.
    Log,
    /// A bit in the middle of the newest snapshot.
    Snapshot,
    /// Half a record, as of a write that was under way, behind the end of the log.
    Tail,
    /// The last bytes of the log, which had been flushed.
    LastRecord,
}

/// Which server a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// The one that is tested.
    This,
    /// The one that `--other` names: an earlier one, say.
    Other,
}

/// Something done to the cluster.
#[expect(
    missing_docs,
    reason = "a fault's fields are told with the fault, and `node` is always the nodes it is done to"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL.
    Kill { node: Which },
    /// SIGTERM, and waits for the end, which has to be in good order.
    Terminate { node: Which },
    /// SIGSTOP.
    Freeze { node: Which },
    /// SIGCONT.
    Thaw { node: Which },
    /// Starts those of the nodes that do not run; left to whoever started the others, where that is somebody else.
    Start { node: Which },
    /// Starts those that do not run, and expects them to end by themselves.
    StartInVain { node: Which },
    /// Ends and starts one node after the other, each once the one before it is ready.
    RollingRestart,
    /// As a rolling restart, but each node is started again as another version of the server.
    Roll { to: Version },
    /// Loses the disk of nodes that do not run.
    Wipe { node: Which },
    /// Removes a node and adds another under a fresh id, on an empty disk.
    Replace { node: Which },
    /// Adds nodes until there are so many, each with a vote in the first cell; with `fronts` they are only added, and take
    /// seats and found cells by themselves.
    Grow {
        to: usize,
        #[serde(default, skip_serializing_if = "Not::not")]
        fronts: bool,
    },
    /// Removes nodes until there are so many, the leader among them; with `drain` the newest are drained, so that whole
    /// cells go.
    Shrink {
        to: usize,
        #[serde(default, skip_serializing_if = "Not::not")]
        drain: bool,
    },
    /// Hands leadership to a node that follows.
    HandOver,

    /// Cuts nodes off from all others, both ways.
    Isolate { node: Which },
    /// Nobody hears a node.
    Mute { node: Which },
    /// A node hears nobody.
    Deafen { node: Which },
    /// Between all nodes, as [`Weather`](crate::chaos::net::Weather) has it.
    Weather {
        #[serde(default, skip_serializing_if = "Span::is_zero")]
        delay: Span,
        #[serde(default, skip_serializing_if = "Span::is_zero")]
        jitter: Span,
        #[serde(default, skip_serializing_if = "is_zero")]
        loss: f64,
        #[serde(default, skip_serializing_if = "is_zero")]
        reset: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
    },
    /// All connections between the nodes are reset, once a second, `for` so long. What stood between the nodes is lifted.
    ResetLinks {
        #[serde(rename = "for")]
        time: Span,
    },
    /// Lifts everything that is between the nodes.
    Heal,

    /// Leaves no byte free on a node's disk.
    FillDisk { node: Which },
    /// Makes room again.
    EmptyDisk { node: Which },
    /// A node's disk stands still `for` a time.
    StallDisk {
        node: Which,
        #[serde(rename = "for")]
        time: Span,
    },
    /// A node's disk stands still half of the time, `for` so long in all.
    SlowDisk {
        node: Which,
        #[serde(rename = "for")]
        time: Span,
    },
    /// The power fails: what was not flushed is gone. The nodes are started again with `start`.
    CutPower { node: Which },
    /// Every flush of a node fails.
    FailFlushes { node: Which },
    /// Damages the files of a node that does not run.
    Damage { node: Which, place: DamagedPart },
    /// Steps the wall clocks of nodes, by so many seconds from the right time.
    Clock { node: Which, seconds: i64 },

    /// Opens so many sockets, which stay from then on and come back whenever they are lost: the figure
    /// `reconnect_p99_ms` is of that.
    HoldSockets { sockets: u64 },
    /// All sockets are lost and come back at once.
    DropSockets,
    /// Load at so many times what the cluster was measured to carry, `for` so long.
    Overload {
        factor: f64,
        #[serde(rename = "for")]
        time: Span,
    },
    /// So many MiB are written as fast as they go.
    Write { mib: u64 },
}

fn is_zero(chance: &f64) -> bool {
    *chance == 0.0
}

impl Fault {
    /// The nodes it is about, if it names any.
    pub fn which(&self) -> Option<Which> {
        toml::Table::try_from(self).ok()?.remove("node")?.try_into().ok()
    }

    /// What it needs of the machine.
    pub fn need(&self) -> Option<Need> {
        match self {
            Self::Roll { .. } => Some(Need::OtherVersion),
            Self::CutPower { .. } => Some(Need::XfsIo),
            Self::FailFlushes { .. } => Some(Need::Fiu),
            Self::Clock { .. } => Some(Need::Faketime),
            fault if fault.is_about_disks() => Some(Need::Root),
            _ => None,
        }
    }

    /// Whether it can be done to any process, whoever started it.
    pub fn is_about_processes(&self) -> bool {
        matches!(self, Self::Kill { .. } | Self::Freeze { .. } | Self::Thaw { .. } | Self::Start { .. })
    }

    /// Whether it takes a disk of the node's own.
    pub fn is_about_disks(&self) -> bool {
        matches!(
            self,
            Self::FillDisk { .. }
                | Self::EmptyDisk { .. }
                | Self::StallDisk { .. }
                | Self::SlowDisk { .. }
                | Self::CutPower { .. }
        )
    }

    /// Whether something has to stand between the nodes for it.
    pub fn is_about_the_net(&self) -> bool {
        matches!(
            self,
            Self::Isolate { .. }
                | Self::Mute { .. }
                | Self::Deafen { .. }
                | Self::Weather { .. }
                | Self::ResetLinks { .. }
                | Self::Heal
        )
    }

    /// Whether it does harm, so that writes may pause: the figure `resume_ms` counts from these.
    pub fn hurts(&self) -> bool {
        matches!(
            self,
            Self::Kill { .. }
                | Self::Terminate { .. }
                | Self::Freeze { .. }
                | Self::Isolate { .. }
                | Self::Mute { .. }
                | Self::Deafen { .. }
                | Self::FillDisk { .. }
                | Self::StallDisk { .. }
                | Self::CutPower { .. }
                | Self::FailFlushes { .. }
                | Self::HandOver
        )
    }
}
