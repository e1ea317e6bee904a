//! Who asked what when, and what came of it.

use conclave_cluster::Error;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::incarnation::{Attachment, Incarnation};
use conclave_cluster::state::outcome::{Answer, Outcome, Refusal};
use conclave_cluster::state::slot::CellId;
use conclave_cluster::state::{mailbox, socket, transfer};

/// Something that a client asks of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Store a chunk; two variants of its bytes are in use.
    Put { transfer: u8, index: u16, variant: u8 },
    /// Consume the next chunk.
    Take { transfer: u8 },
    /// Say that all was received.
    Acknowledge { transfer: u8, existing: bool },
    /// Read a transfer.
    View { transfer: u8 },
    /// Queue a signal that no other push carries.
    Push { mailbox: u8, value: u64 },
    /// Consume what waits.
    Drain { mailbox: u8, bytes_max: u32 },
    /// Put a value that nobody else writes.
    Write { register: u8, value: u64 },
    /// Read it back.
    Read { register: u8 },
    /// Make something that lives for a short while, under a name of its own.
    Plant { kind: Kind, name: u64, ttl_ms: u32 },
    /// See whether it is there.
    Probe { kind: Kind, name: u64 },
    /// Have a request charged.
    Charge { client: u8 },
    /// Have a read charged, by this node alone.
    ChargeRead { client: u8 },
    /// Let a run of a node hold connections for a while whose sessions are in a cell.
    Renew { incarnation: Incarnation, cell: CellId },
    /// Go on with a socket session on a connection of its own, or begin it there.
    Attach { session: u8, at: Attachment, resume: bool },
    /// Say that a session's connection is lost.
    Detach { session: u8, connection: u64 },
    /// See where a session is.
    Locate { session: u8 },
    /// Have a peer id be a session's, or even take it from another.
    Claim { peer: u8, session: u8, generation: Generation, at: Attachment, seize: bool },
    /// Give it up.
    Release { peer: u8, session: u8, connection: u64 },
    /// See where it is.
    Holder { peer: u8 },
    /// Have a session be a member of a room.
    Join { room: u8, session: u8, generation: Generation, at: Attachment },
    /// Have it be one no more.
    Leave { room: u8, session: u8, connection: u64 },
    /// Say something that nobody else says, under a name by which it may be said again.
    Publish { room: u8, session: u8, value: u64 },
    /// Hear what was said after an offset.
    Hear { room: u8, after: u64 },
    /// Let a ticket be used once.
    Issue { ticket: u64 },
    /// Use it.
    Redeem { ticket: u64 },
}

/// What a short-lived thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Rendezvous,
    Negotiation,
    Device,
    Chunk,
    Signal,
}

impl Command {
    /// Whether the answer hands something out for the last time.
    pub(crate) fn consumes(&self) -> bool {
        matches!(self, Self::Take { .. } | Self::Drain { .. })
    }

    /// Whether nothing is changed by it.
    pub(crate) fn reads(&self) -> bool {
        matches!(
            self,
            Self::View { .. }
                | Self::Read { .. }
                | Self::Probe { .. }
                | Self::ChargeRead { .. }
                | Self::Locate { .. }
                | Self::Holder { .. }
                | Self::Hear { .. }
        )
    }

    /// The room that it changes.
    pub(crate) fn room(&self) -> Option<u8> {
        match self {
            Self::Join { room, .. } | Self::Leave { room, .. } | Self::Publish { room, .. } => Some(*room),
            _ => None,
        }
    }

    /// Whether it carries a name by which the cluster knows it again.
    pub(crate) fn has_name(&self) -> bool {
        matches!(self, Self::Publish { .. })
    }
}

/// What a reader saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    Value(Option<u64>),
    Present(bool),
    Transfer(Option<TransferSight>),
    Admitted(bool),
    Tie(Tie),
    Room(Option<RoomSight>),
}

/// Where something is that hangs on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// On this one.
    At(Attachment),
    /// On one that is not told.
    Somewhere,
    /// On none, for a while.
    Loose,
    /// It is not there at all.
    Gone,
}

/// A room, and what was said in it after some offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomSight {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) said: Vec<Said>,
    /// The sessions that are in.
    pub(crate) members: Vec<u8>,
}

/// One message of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) offset: u64,
    pub(crate) session: u8,
    pub(crate) value: u64,
    pub(crate) at_ms: u64,
}

/// The parts of a transfer's view that do not depend on the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferSight {
    /// A bit for each stored index.
    pub(crate) received: u16,
    pub(crate) delivered: u16,
    pub(crate) acknowledged: bool,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not answered, perhaps because its node died; it may be carried out at any time from its start on.
    Unknown,
    /// The cluster promised that it was not and will not be carried out.
    Never,
    Answered(Answer),
    Saw(Sight),
}

impl Fate {
    /// The generation that a connection got with its session.
    pub(crate) fn generation(&self) -> Option<Generation> {
        match self {
            Self::Answered(Answer {
                outcome:
                    Ok(Outcome::Socket(
                        socket::Outcome::Opened { generation } | socket::Outcome::Resumed { generation, .. },
                    )),
                ..
            }) => Some(*generation),
            _ => None,
        }
    }
}

impl From<Result<Answer, Error>> for Fate {
    fn from(result: Result<Answer, Error>) -> Self {
        match result {
            Ok(answer) => Self::Answered(answer),
            Err(Error::NoLeader) => Self::Unknown,
            Err(Error::Overloaded | Error::Behind | Error::ShuttingDown) => Self::Never,
        }
    }
}

/// A command, from its first asking to its last answer.
///
/// What came before what is counted, not timed. Within one step of the simulation the nodes take turns, and each has
/// the whole step's time to itself: what happens at 0.987 s on the node whose turn is first comes before what happens
/// at 0.986 s on the next. Times, in microseconds of virtual time, are for comparing with a time to live.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) node: u64,
    pub(crate) command: Command,
    /// Under which name it may be asked again.
    pub(crate) idempotency_key: Option<u64>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Its first asking's place among all askings and answers.
    pub(crate) asked: u64,
    /// Its last answer's.
    pub(crate) answered: u64,
    pub(crate) fate: Fate,
}

impl Event {
    /// What was handed out or done, unless it was refused or is not known.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.fate {
            Fate::Answered(Answer { outcome: Ok(outcome), .. }) => Some(outcome),
            _ => None,
        }
    }

    /// Why it was refused.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match &self.fate {
            Fate::Answered(Answer { outcome: Err(refusal), .. }) => Some(refusal),
            _ => None,
        }
    }

    /// The index and the variant of the chunk that a take handed out.
    pub(crate) fn chunk(&self) -> Option<(u16, u8)> {
        match self.outcome() {
            Some(Outcome::Transfer(transfer::Outcome::Chunk { index, body, .. })) => {
                Some((*index, body.bytes().last().copied().unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// The numbers and values of the signals that a drain handed out.
    pub(crate) fn signals(&self) -> Option<Vec<(u64, u64)>> {
        match self.outcome() {
            Some(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => {
                Some(messages.iter().map(|message| (message.seq, number(message.payload.bytes()))).collect())
            }
            _ => None,
        }
    }

    /// The number that a pushed signal got.
    pub(crate) fn seq(&self) -> Option<u64> {
        match self.outcome() {
            Some(Outcome::Mailbox(mailbox::Outcome::Queued { seq })) => Some(*seq),
            _ => None,
        }
    }

    /// Whether it may have been carried out, or may yet be.
    pub(crate) fn may_count(&self) -> bool {
        match &self.fate {
            Fate::Unknown => true,
            Fate::Never => false,
            Fate::Answered(answer) => answer.outcome.is_ok(),
            Fate::Saw(_) => false,
        }
    }

    /// Whether it was over when the other began, so that the other has to see what came of it.
    pub(crate) fn precedes(&self, other: &Event) -> bool {
        self.answered < other.asked
    }

    /// One line for a report.
    pub(crate) fn line(&self) -> String {
        let end =
            if self.end == u64::MAX { "…".to_owned() } else { format!("{:.3}", self.end as f64 / 1e6) };
        let start = self.start as f64 / 1e6;
        format!(
            "{start:.3}–{end} s on node {}: {:?} (memo {:?}): {:?}",
            self.node, self.command, self.idempotency_key, self.fate
        )
    }
}

/// The number that is written in a body's first eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Everything that was asked, in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: Vec<Event>,
    /// Askings and answers so far.
    count: u64,
}

impl History {
    /// Notes a command that is about to be made.
    pub(crate) fn begin(
        &mut self,
        node: u64,
        command: Command,
        idempotency_key: Option<u64>,
        start: u64,
    ) -> usize {
        let (asked, answered) = (self.next(), u64::MAX);
        self.events.push(Event {
            node,
            command,
            idempotency_key,
            start,
            end: u64::MAX,
            asked,
            answered,
            fate: Fate::Unknown,
        });
        self.events.len() - 1
    }

    /// Notes its end. Without one it stays open for ever.
    pub(crate) fn end(&mut self, number: usize, fate: Fate, end: u64) {
        let next = self.next();
        let event = &mut self.events[number];
        (event.end, event.answered) = if fate == Fate::Unknown { (u64::MAX, u64::MAX) } else { (end, next) };
        event.fate = fate;
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The commands whose fate an idempotency key can tell.
    pub(crate) fn unsettled(&self) -> Vec<usize> {
        let open = self.events.iter().enumerate().filter(|(_, event)| event.fate == Fate::Unknown);
        open.filter(|(_, event)| event.idempotency_key.is_some()).map(|(number, _)| number).collect()
    }
}
