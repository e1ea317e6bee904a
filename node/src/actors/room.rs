//! The actor in front of one room on this node: one reader of its history for all members that are connected here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture,
};
use bytes::Bytes;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::state::room;
use conclave_cluster::{Cluster, Error};
use tokio::time::Instant;

use super::Place;
use super::desk::{Carry, Desk, IDLE_MAX, Listen, Refresh, Wake};
use super::line::{Line, Seat};
use super::registry::{Front, Registry};

/// Messages taken from the history at a time, and their bytes.
const BATCH_MESSAGES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A member that lacks no more than this is caught up by the actor; one that lacks more reads by itself first, at the
/// pace at which its client takes it.
const GAP_MESSAGES_MAX: usize = 32;
const GAP_BYTES_MAX: usize = 96 << 10;
/// For how long the list of nodes that have members is good.
const NODES_FRESH: Duration = Duration::from_millis(250);
/// What may wait for the actor beside wakes; a cast that finds it full is dropped.
const QUEUE_MAX: usize = 4096;

/// What happened in a room.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message of the history.
    Message(Arc<room::Message>),
    /// A message that is in no history.
    Volatile {
        /// Who said it.
        member: Key,
        /// What was said, with the byte that says what it is.
        data: Bytes,
        /// When it passed here, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Somebody is a member now.
    Joined(Key),
    /// Somebody is none any more.
    Left(Key),
}

/// An event on its way to all members of one node, with room for each of its spellings: whoever needs one first writes
/// it, for all the others.
#[derive(Debug)]
pub struct Note {
    /// What happened.
    pub event: Event,
    /// Names the numbering.
    pub epoch: u64,
    /// As text.
    pub text: OnceLock<Bytes>,
    /// As bytes.
    pub binary: OnceLock<Bytes>,
}

impl Note {
    /// An event of a room of that epoch.
    pub fn new(epoch: u64, event: Event) -> Self {
        Self { event, epoch, text: OnceLock::new(), binary: OnceLock::new() }
    }

    /// Whose message it is; its sender does not hear it.
    fn sender(&self) -> Option<&Key> {
        match &self.event {
            Event::Message(message) => Some(&message.member),
            Event::Volatile { member, .. } => Some(member),
            Event::Joined(_) | Event::Left(_) => None,
        }
    }
}

/// A member that is connected here.
pub trait Listener: Send + 'static {
    /// The first call: these are the members, itself among them. Every later change of them is an event.
    fn begin(&self, members: &BTreeSet<Key>);

    /// Takes an event without waiting. False: it takes no more, and is forgotten.
    fn hear(&self, note: &Note) -> bool;

    /// Something is missing that can't be had any more, or the membership itself is gone: the client has to come anew.
    fn lose(&self);
}

/// Begin to tell this member what happens. True if messages are among it from now on; see [`Presence::attach`].
#[derive(Message)]
#[rtype(result = "bool")]
struct Attach {
    member: Key,
    connection: u64,
    after: u64,
    listener: Box<dyn Listener>,
}

/// Tell this member messages, too, if it lacks few enough.
#[derive(Message)]
#[rtype(result = "bool")]
struct Meet {
    member: Key,
    connection: u64,
    after: u64,
}

/// Stop telling this member.
#[derive(Message)]
#[rtype(result = "()")]
struct Part {
    member: Key,
    connection: u64,
}

/// Tell everybody, keep nothing.
#[derive(Message)]
#[rtype(result = "()")]
struct Cast {
    member: Key,
    data: Bytes,
    /// What goes to the other nodes; `None` if it came from one.
    onward: Option<Bytes>,
}

/// A member's place in the room on this node, until dropped.
pub struct Presence {
    address: Addr<RoomActor>,
    _seat: Seat,
    member: Key,
    connection: u64,
}

impl Presence {
    pub(super) fn new(address: Addr<RoomActor>, seat: Seat, member: Key, connection: u64) -> Self {
        Self { address, _seat: seat, member, connection }
    }

    /// Attaches a member that has everything up to `after`. True: it hears all that comes. False: it lacks so much
    /// that it hears of members only, reads messages by itself at its own pace, and calls [`Presence::meet`] when it
    /// has nearly all.
    ///
    /// # Errors
    /// `Overloaded` if the actor is gone; begin anew.
    pub async fn attach(&self, after: u64, listener: Box<dyn Listener>) -> Result<bool, Error> {
        let attach = Attach { member: self.member, connection: self.connection, after, listener };
        self.address.send(attach).await.map_err(|_| Error::Overloaded)
    }

    /// Tries to hear messages from `after` on. False: it lacks too much still.
    ///
    /// # Errors
    /// `Overloaded` if the actor is gone; begin anew.
    pub async fn meet(&self, after: u64) -> Result<bool, Error> {
        let meet = Meet { member: self.member, connection: self.connection, after };
        self.address.send(meet).await.map_err(|_| Error::Overloaded)
    }

    /// Says something to the other members that is kept nowhere. `onward` is what the other nodes are told. False if
    /// there is too much of it.
    pub fn cast(&self, data: Bytes, onward: Bytes) -> bool {
        self.address.try_send(Cast { member: self.member, data, onward: Some(onward) }).is_ok()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.address.do_send(Part { member: self.member, connection: self.connection });
    }
}

/// Reads a room's history once for all of its members on this node, and tells them.
pub struct RoomActor {
    desk: Desk,
    registry: Registry,
    cluster: Cluster,
    epoch: u64,
    /// The last offset that was told.
    told: u64,
    members_version: u64,
    members: BTreeSet<Key>,
    local: HashMap<Key, Local>,
    nodes: Option<(Vec<u64>, Instant)>,
}

struct Local {
    connection: u64,
    /// Whether it hears messages.
    live: bool,
    after: u64,
    listener: Box<dyn Listener>,
}

/// One look at the replica.
struct Seen {
    view: room::View,
    messages: Vec<Arc<room::Message>>,
    members: Option<Vec<Key>>,
}

impl RoomActor {
    /// Tells the members here everything that is new.
    fn catch_up(&mut self) {
        loop {
            let (told, version) = (self.told, self.members_version);
            let key = self.desk.place.key;
            let seen = self.cluster.glance(|state, now_ms| {
                let view = state.room(&key, now_ms)?;
                let after = if view.epoch == self.epoch { told } else { 0 };
                let messages = state.room_messages(&key, after, BATCH_MESSAGES_MAX, BATCH_BYTES_MAX, now_ms);
                let moved = view.members_version != version || view.epoch != self.epoch;
                Some(Seen { view, messages, members: moved.then(|| state.room_members(&key)) })
            });
            let Some(seen) = seen else { return self.lose_all() };
            if seen.view.epoch != self.epoch {
                // Nobody here was in a room of that name before it was forgotten; who thinks so has to come anew.
                self.lose_all();
                self.epoch = seen.view.epoch;
                self.told = 0;
            }
            let more = seen.messages.len() == BATCH_MESSAGES_MAX
                || seen.messages.last().is_some_and(|last| last.offset < seen.view.last);
            self.tell_messages(seen.messages, &seen.view);
            if let Some(members) = seen.members {
                self.members_version = seen.view.members_version;
                self.tell_members(members.into_iter().collect());
            }
            if !more {
                return;
            }
        }
    }

    fn tell_messages(&mut self, messages: Vec<Arc<room::Message>>, view: &room::View) {
        for message in messages {
            if message.offset > self.told + 1 {
                self.lose_before(message.offset);
            }
            self.told = message.offset;
            self.tell(&Note::new(view.epoch, Event::Message(message)), Some(self.told));
        }
        // What is in no history any more although it was never told is lost to those who are here.
        if self.told < view.last && view.first > view.last {
            self.lose_before(view.last + 1);
            self.told = view.last;
        }
    }

    fn tell_members(&mut self, members: BTreeSet<Key>) {
        let joined: Vec<_> = members.difference(&self.members).copied().collect();
        let left: Vec<_> = self.members.difference(&members).copied().collect();
        self.members = members;
        for member in joined {
            self.tell(&Note::new(self.epoch, Event::Joined(member)), None);
        }
        for member in left {
            // A member that counts as gone, because this node was cut off, must join again.
            if let Some(local) = self.local.remove(&member) {
                local.listener.lose();
            }
            self.tell(&Note::new(self.epoch, Event::Left(member)), None);
        }
    }

    fn tell(&mut self, note: &Note, offset: Option<u64>) {
        self.local.retain(|member, local| {
            let has = offset.is_some_and(|offset| !local.live || offset <= local.after);
            if has || note.sender() == Some(member) {
                return true;
            }
            local.listener.hear(note)
        });
    }

    /// Those who lack something below `offset` can't have it any more.
    fn lose_before(&mut self, offset: u64) {
        let told = self.told;
        self.local.retain(|_, local| {
            let complete = !local.live || local.after.max(told) + 1 >= offset;
            if !complete {
                local.listener.lose();
            }
            complete
        });
    }

    fn lose_all(&mut self) {
        self.local.drain().for_each(|(_, local)| local.listener.lose());
        self.members.clear();
        (self.epoch, self.told, self.members_version) = (0, 0, 0);
    }

    /// Tells a member what it lacks below the position of all others, if that is little.
    fn meet(&mut self, Meet { member, connection, after }: Meet) -> bool {
        self.catch_up();
        let told = self.told;
        let Some(local) = self.local.get_mut(&member).filter(|local| local.connection == connection) else {
            return true;
        };
        if after < told {
            let key = self.desk.place.key;
            let gap = self.cluster.glance(|state, now_ms| {
                state.room_messages(&key, after, GAP_MESSAGES_MAX, GAP_BYTES_MAX, now_ms)
            });
            if gap.first().is_none_or(|first| first.offset != after + 1) {
                // It went out of the history just now.
                local.listener.lose();
                self.local.remove(&member);
                return true;
            }
            if gap.last().is_some_and(|last| last.offset < told) {
                return false;
            }
            for message in
                gap.into_iter().filter(|message| message.offset <= told && message.member != member)
            {
                local.listener.hear(&Note::new(self.epoch, Event::Message(message)));
            }
        }
        (local.live, local.after) = (true, after.max(told));
        true
    }

    /// The other nodes that have members.
    fn nodes(&mut self) -> &[u64] {
        let fresh = self.nodes.as_ref().is_some_and(|(_, at)| at.elapsed() < NODES_FRESH);
        if !fresh {
            let key = self.desk.place.key;
            let nodes = self.cluster.glance(|state, now_ms| state.room_nodes(&key, now_ms));
            self.nodes = Some((nodes, Instant::now()));
        }
        self.nodes.as_ref().map_or(&[], |(nodes, _)| nodes)
    }
}

impl Front for RoomActor {
    fn new(place: Place, line: Arc<Line>, cluster: Cluster, registry: Registry) -> Self {
        let (view, members) = cluster.glance(|state, now_ms| {
            (state.room(&place.key, now_ms), state.room_members(&place.key).into_iter().collect())
        });
        let (epoch, told, members_version) =
            view.map_or((0, 0, 0), |view| (view.epoch, view.last, view.members_version));
        let desk = Desk::new(place, line, cluster.clone());
        let local = HashMap::new();
        Self { desk, registry, cluster, epoch, told, members_version, members, local, nodes: None }
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(QUEUE_MAX);
        ctx.run_interval(IDLE_MAX, |actor, ctx| {
            if !actor.desk.line.was_used() && actor.registry.forget(&actor.desk.place, &actor.desk.line) {
                ctx.stop();
            }
        });
    }
}

impl Handler<Attach> for RoomActor {
    type Result = MessageResult<Attach>;

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) -> Self::Result {
        let Attach { member, connection, after, listener } = attach;
        self.catch_up();
        listener.begin(&self.members);
        self.local.insert(member, Local { connection, live: false, after, listener });
        MessageResult(self.meet(Meet { member, connection, after }))
    }
}

impl Handler<Meet> for RoomActor {
    type Result = MessageResult<Meet>;

    fn handle(&mut self, meet: Meet, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.meet(meet))
    }
}

impl Handler<Part> for RoomActor {
    type Result = ();

    fn handle(&mut self, Part { member, connection }: Part, _: &mut Self::Context) {
        if self.local.get(&member).is_some_and(|local| local.connection == connection) {
            self.local.remove(&member);
        }
    }
}

impl Handler<Cast> for RoomActor {
    type Result = ();

    fn handle(&mut self, Cast { member, data, onward }: Cast, _: &mut Self::Context) {
        if let Some(onward) = onward {
            let cluster = self.cluster.clone();
            cluster.cast(self.nodes(), &onward);
        }
        let at_ms = self.cluster.glance(|_, now_ms| now_ms);
        self.tell(&Note::new(self.epoch, Event::Volatile { member, data, at_ms }), None);
    }
}

impl Handler<Wake> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.catch_up();
        self.desk.ring();
    }
}

impl Handler<Carry> for RoomActor {
    type Result = ResponseFuture<Result<Answer, Error>>;

    fn handle(&mut self, message: Carry, _: &mut Self::Context) -> Self::Result {
        self.desk.carry(message)
    }
}

impl Handler<Refresh> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Refresh, _: &mut Self::Context) {
        self.desk.refresh(message);
    }
}

impl Handler<Listen> for RoomActor {
    type Result = MessageResult<Listen>;

    fn handle(&mut self, _: Listen, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.desk.listen())
    }
}

/// What one node casts to another: the room, who says it, and what.
pub fn onward(room: &Key, member: &Key, data: &[u8]) -> Bytes {
    [room.as_bytes(), member.as_bytes(), data].concat().into()
}

/// Delivers casts of other nodes to the rooms that have members here, until there are no more.
///
/// Spawn it once per node with [`Cluster::casts`].
pub async fn run(mut casts: tokio::sync::mpsc::Receiver<(u64, Bytes)>, registry: Registry) {
    while let Some((_, cast)) = casts.recv().await {
        let Some((head, _)) = cast.split_first_chunk::<64>() else { continue };
        let key = |from: usize| {
            let bytes = head[from..from + 32].try_into().expect("the head has two keys of 32 bytes");
            Key::from_bytes(bytes)
        };
        registry.overhear(&key(0), key(32), cast.slice(64..));
    }
}

impl Registry {
    /// A cast for a room that may have members here.
    fn overhear(&self, room: &Key, member: Key, data: Bytes) {
        if let Some(address) = self.room(room) {
            // One that finds the actor's queue full is dropped, as casts may be.
            let _ = address.try_send(Cast { member, data, onward: None });
        }
    }
}
