//! Workloads over sockets: messages in rooms, signals pushed, sockets that do nothing.

mod flow;
mod idle;
mod mailbox;
mod party;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Options, Workload};
use crate::client::{Client, Tally};
use crate::content::{Content, mix};
use crate::report::Meter;
use crate::socket::{self, Encoding, Session, SocketTally};
use flow::Flow;
use mailbox::{Letters, Mailbox};
use party::{Party, Progress};

pub(crate) use flow::PAYLOAD_BYTES_MIN;
pub(super) use idle::hold;

/// What only workloads over sockets have.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Where the endpoint is.
    pub path: String,
    /// How frames are written.
    pub encoding: Encoding,
    /// Whether messages are kept nowhere.
    pub volatile: bool,
    /// How many messages of one sender may be on the way; `None` for as many as suit a closed or an open loop.
    pub window: Option<usize>,
    /// Receivers in a room.
    pub members: usize,
}

/// On the way at once in a closed loop, where more only wait in queues.
const WINDOW_CLOSED: usize = 8;
/// The same in an open loop, where it only bounds memory.
const WINDOW_OPEN: usize = 4096;
/// Read at once by a socket that is busy, and by one that is not.
const BUFFER_BYTES: usize = 32 << 10;
const BUFFER_BYTES_IDLE: usize = 1 << 10;

/// What all sockets of a run have in common.
pub(super) struct Ground<'a> {
    options: &'a Arc<Options>,
    meter: &'a Meter,
    sockets: Arc<SocketTally>,
    content: Content,
    run: u64,
    sessions: Arc<socket::Options>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(
        options: &'a Arc<Options>,
        meter: &'a Meter,
        sockets: &Arc<SocketTally>,
        content: &Content,
    ) -> Self {
        let idle = options.workload == Workload::Idle;
        Self {
            options,
            meter,
            sockets: sockets.clone(),
            content: content.clone(),
            // Two runs must never share a room, even with the same seed.
            run: rand::random(),
            sessions: Arc::new(socket::Options {
                targets: options.targets.clone(),
                path: options.sockets.path.clone(),
                encoding: options.sockets.encoding,
                volatile: options.sockets.volatile,
                timeout: options.client.timeout.max(Duration::from_secs(10)),
                patience: options.client.patience,
                buffer_bytes: if idle { BUFFER_BYTES_IDLE } else { BUFFER_BYTES },
            }),
        }
    }

    fn window(&self) -> usize {
        let default = if self.options.rate.is_open() { WINDOW_OPEN } else { WINDOW_CLOSED };
        self.options.sockets.window.unwrap_or(default)
    }

    fn session(&self, at: usize, room: Option<String>) -> Session {
        Session::new(self.sessions.clone(), self.sockets.clone(), at, room)
    }

    fn flow(&self, number: usize, receivers: usize) -> Arc<Flow> {
        // Signals are kept until they are acknowledged, whatever rooms do.
        let volatile = self.options.sockets.volatile && self.options.workload != Workload::Mailbox;
        let patience = self.options.client.patience;
        Arc::new(Flow::new(mix(self.run ^ number as u64), receivers, self.window(), volatile, patience))
    }

    /// Pairs, each in a room of its own and on two nodes, who publish to one another.
    pub(super) fn pairs(&self, workers: &mut JoinSet<()>) {
        for pair in 0..self.options.concurrency {
            let begin = Arc::new(Barrier::new(2));
            let flows = [self.flow(2 * pair, 1), self.flow(2 * pair + 1, 1)];
            for side in 0..2 {
                let receives = Some((flows[1 - side].clone(), 0));
                let party = self.party(pair, pair + side, Some(flows[side].clone()), receives, false, &begin);
                workers.spawn(party.run());
            }
        }
    }

    /// Rooms, each with one who publishes and members on all nodes who receive.
    pub(super) fn rooms(&self, workers: &mut JoinSet<()>) {
        let members = self.options.sockets.members;
        for room in 0..self.options.concurrency {
            let begin = Arc::new(Barrier::new(members + 1));
            let flow = self.flow(room, members);
            workers.spawn(self.party(room, room, Some(flow.clone()), None, true, &begin).run());
            for member in 0..members {
                let receives = Some((flow.clone(), member));
                workers.spawn(self.party(room, room + 1 + member, None, receives, true, &begin).run());
            }
        }
    }

    fn party(
        &self,
        room: usize,
        at: usize,
        sends: Option<Arc<Flow>>,
        receives: Option<(Arc<Flow>, usize)>,
        alone: bool,
        begin: &Arc<Barrier>,
    ) -> Party {
        Party {
            session: self.session(at, Some(format!("sim-{:016x}-{room:x}", self.run))),
            tally: self.sockets.clone(),
            meter: self.meter.clone(),
            content: self.content.clone(),
            size: self.options.size,
            sends,
            receives,
            alone,
            begin: begin.clone(),
            progress: Progress::default(),
        }
    }

    /// Mailboxes, each with one who posts over HTTP at one node and a socket that receives at another.
    pub(super) fn mailboxes(&self, tally: &Arc<Tally>, workers: &mut JoinSet<()>) {
        for number in 0..self.options.concurrency {
            let name = format!("{:x}-{number:x}", self.run);
            let client = self.options.client.clone();
            let letters = Letters {
                peer: format!("sim-{:016x}-{number:x}", self.run),
                flow: self.flow(number, 1),
                content: self.content.clone(),
                size: self.options.size,
            };
            let mailbox = Mailbox::new(
                letters,
                self.session(number + 1, None),
                self.sockets.clone(),
                self.meter.clone(),
            );
            let poster = Client::new(&self.options.targets, client, tally.clone(), name);
            workers.spawn(mailbox.run(poster, number));
        }
    }
}
