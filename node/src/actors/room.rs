//! The actor in front of one room on this node: one reader of its history for all members that are connected here.

mod datagram;
mod event;
mod member_handle;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{AtomicResponse, Handler, Message, WrapFuture as _};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::query::{self, Page};
use conclave_cluster::state::room;
use conclave_cluster::{Cluster, Error};
use futures_util::future::LocalBoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::StateKey;
use super::key_actor::{KeyActor, Kind};
use datagram::Datagram;

pub use datagram::{onward, run};
pub use event::{Broadcast, Event};
pub use member_handle::Presence;

/// Messages taken from the history at a time, and their bytes.
const BATCH_MESSAGES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A member that lacks no more than this is caught up by the actor; one that lacks more reads by itself first, at the
/// pace at which its client takes it.
const GAP_MESSAGES_MAX: usize = 32;
const GAP_BYTES_MAX: usize = 96 << 10;
/// For how long the list of nodes that have members is good.
const NODES_FRESH: Duration = Duration::from_millis(250);
/// What may wait for the actor beside wakes; a datagram that finds it full is dropped.
const QUEUE_MAX: usize = 4096;

/// A member that is connected here.
pub trait Listener: Send + 'static {
    /// The first call: these are the members, itself among them. Every later change of them is an event.
    fn begin(&self, members: &BTreeSet<Key>);

    /// Takes an event without waiting. False: it takes no more, and is forgotten.
    fn hear(&self, event: &Broadcast) -> bool;

    /// The message at `offset` is its own: it is not told, and does not lack it.
    fn pass(&self, offset: u64);

    /// Something is missing that can't be had any more, or the membership itself is gone: the client has to come anew.
    fn lose(&self);
}

/// Begin to tell this member what happens. True if messages are among it from now on; see [`Presence::attach`].
#[derive(Message)]
#[rtype(result = "Result<bool, Error>")]
struct Attach {
    member: Key,
    connection: u64,
    after: u64,
    listener: Box<dyn Listener>,
}

/// Tell this member messages, too, if it lacks few enough.
#[derive(Message)]
#[rtype(result = "Result<bool, Error>")]
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

/// The actor of a room. It handles one message after the other, reads of the state included.
pub(super) type RoomActor = KeyActor<SharedRoom>;

/// The room, for whoever's turn it is.
pub(super) struct SharedRoom(Rc<Mutex<Room>>);

/// Reads a room's history once for all of its members on this node, and tells them.
struct Room {
    key: Key,
    cluster: Cluster,
    /// Whether it is known where the room stood when this actor began.
    begun: bool,
    epoch: u64,
    /// The last offset that was told.
    told: u64,
    members_version: u64,
    members: BTreeSet<Key>,
    local: HashMap<Key, Local>,
    nodes: Option<(Arc<[u64]>, Instant)>,
}

struct Local {
    connection: u64,
    /// Whether it hears messages.
    live: bool,
    after: u64,
    listener: Box<dyn Listener>,
}

impl Room {
    fn new(key: Key, cluster: Cluster) -> Self {
        Self {
            key,
            cluster,
            begun: false,
            epoch: 0,
            told: 0,
            members_version: 0,
            members: BTreeSet::new(),
            local: HashMap::new(),
            nodes: None,
        }
    }

    /// Nobody is told what was there before this actor.
    async fn begin(&mut self) -> Result<(), Error> {
        if self.begun {
            return Ok(());
        }
        let (view, members) =
            self.cluster.read_stale((query::Room(self.key), query::RoomMembers(self.key))).await?;
        self.members = members.into_iter().collect();
        (self.epoch, self.told, self.members_version) =
            view.map_or((0, 0, 0), |view| (view.epoch, view.last, view.members_version));
        self.begun = true;
        Ok(())
    }

    /// Tells the members here everything that is new. If the state cannot be read, they are told when it can be: the actor is
    /// woken then.
    async fn catch_up(&mut self) -> Result<(), Error> {
        self.begin().await?;
        loop {
            let (key, epoch, version) = (self.key, self.epoch, self.members_version);
            let page = Page { after: self.told, count_max: BATCH_MESSAGES_MAX, bytes_max: BATCH_BYTES_MAX };
            let members = query::RoomMembersSince(key, epoch, version);
            let (seen, members) =
                self.cluster.read_stale((query::RoomSince(key, epoch, page), members)).await?;
            let Some((view, messages)) = seen else {
                self.lose_all();
                return Ok(());
            };
            if view.epoch != self.epoch {
                // Nobody here was in a room of that name before it was forgotten; who thinks so has to come anew.
                self.lose_all();
                self.epoch = view.epoch;
                self.told = 0;
            }
            let more = messages.len() == BATCH_MESSAGES_MAX
                || messages.last().is_some_and(|last| last.offset < view.last);
            self.tell_messages(messages, &view);
            if let Some(members) = members {
                self.members_version = view.members_version;
                self.tell_members(members.into_iter().collect());
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn tell_messages(&mut self, messages: Vec<Arc<room::Message>>, view: &room::View) {
        for message in messages {
            if message.offset > self.told + 1 {
                self.lose_before(message.offset);
            }
            self.told = message.offset;
            self.tell(&Broadcast::new(view.epoch, Event::Message(message)), Some(self.told));
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
            self.tell(&Broadcast::new(self.epoch, Event::Joined(member)), None);
        }
        for member in left {
            // A member that counts as gone, because this node was cut off, must join again.
            if let Some(local) = self.local.remove(&member) {
                local.listener.lose();
            }
            self.tell(&Broadcast::new(self.epoch, Event::Left(member)), None);
        }
    }

    fn tell(&mut self, broadcast: &Broadcast, offset: Option<u64>) {
        self.local.retain(|member, local| {
            let has = offset.is_some_and(|offset| !local.live || offset <= local.after);
            if has {
                return true;
            }
            if broadcast.sender() == Some(member) {
                offset.into_iter().for_each(|offset| local.listener.pass(offset));
                return true;
            }
            local.listener.hear(broadcast)
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

    /// Begins to tell a member.
    async fn attach(
        &mut self,
        Attach { member, connection, after, listener }: Attach,
    ) -> Result<bool, Error> {
        self.catch_up().await?;
        // A connection that was slow to come may have lost its session to another one of this node, which is told already.
        let at = self.cluster.read_stale(query::RoomMember(self.key, member)).await?;
        if at.is_some_and(|at| at.connection != connection) {
            return Ok(true);
        }
        listener.begin(&self.members);
        self.local.insert(member, Local { connection, live: false, after, listener });
        self.meet(Meet { member, connection, after }).await
    }

    /// Tells a member what it lacks below the position of all others, if that is little.
    async fn meet(&mut self, Meet { member, connection, after }: Meet) -> Result<bool, Error> {
        self.catch_up().await?;
        let told = self.told;
        let Some(local) = self.local.get_mut(&member).filter(|local| local.connection == connection) else {
            return Ok(true);
        };
        if after < told {
            let page = Page { after, count_max: GAP_MESSAGES_MAX, bytes_max: GAP_BYTES_MAX };
            let gap = self.cluster.read_stale(query::RoomMessages(self.key, page)).await?;
            if gap.first().is_none_or(|first| first.offset != after + 1) {
                // It went out of the history just now.
                local.listener.lose();
                self.local.remove(&member);
                return Ok(true);
            }
            if gap.last().is_some_and(|last| last.offset < told) {
                return Ok(false);
            }
            for message in gap.into_iter().filter(|message| message.offset <= told) {
                if message.member == member {
                    local.listener.pass(message.offset);
                } else {
                    local.listener.hear(&Broadcast::new(self.epoch, Event::Message(message)));
                }
            }
        }
        (local.live, local.after) = (true, after.max(told));
        Ok(true)
    }

    /// Stops telling a member, unless it is here on another connection by now.
    fn part(&mut self, Part { member, connection }: &Part) {
        if self.local.get(member).is_some_and(|local| local.connection == *connection) {
            self.local.remove(member);
        }
    }

    /// Tells the members here, and the other nodes.
    async fn cast(&mut self, Datagram { member, data, onward }: Datagram) {
        if let Some(onward) = onward {
            let nodes = self.nodes().await;
            self.cluster.send_datagram(&nodes, &onward);
        }
        let at_ms = self.cluster.log_ms();
        self.tell(&Broadcast::new(self.epoch, Event::Volatile { member, data, at_ms }), None);
    }

    /// The other nodes that have members. None while that cannot be read: what is cast may be lost.
    async fn nodes(&mut self) -> Arc<[u64]> {
        if let Some((nodes, at)) = &self.nodes
            && at.elapsed() < NODES_FRESH
        {
            return nodes.clone();
        }
        let nodes: Arc<[u64]> =
            self.cluster.read_stale(query::RoomNodes(self.key)).await.unwrap_or_default().into();
        self.nodes = Some((nodes.clone(), Instant::now()));
        nodes
    }
}

impl Kind for SharedRoom {
    const QUEUE_MAX: Option<usize> = Some(QUEUE_MAX);

    fn begin(target: StateKey, cluster: Cluster) -> Self {
        Self(Rc::new(Mutex::new(Room::new(target.key, cluster))))
    }

    fn woken(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        let room = self.0.clone();
        Some(Box::pin(async move {
            if let Err(error) = room.lock().await.catch_up().await {
                tracing::debug!(%error, "a room's members are told later what is new");
            }
        }))
    }
}

impl RoomActor {
    /// Has something done before the next message is handled.
    fn turn<R: 'static>(&self, work: impl AsyncFnOnce(&mut Room) -> R + 'static) -> AtomicResponse<Self, R> {
        let room = self.kind.0.clone();
        let work = async move { work(&mut *room.lock().await).await };
        AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}

impl Handler<Attach> for RoomActor {
    type Result = AtomicResponse<Self, Result<bool, Error>>;

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) -> Self::Result {
        self.turn(async |room| room.attach(attach).await)
    }
}

impl Handler<Meet> for RoomActor {
    type Result = AtomicResponse<Self, Result<bool, Error>>;

    fn handle(&mut self, meet: Meet, _: &mut Self::Context) -> Self::Result {
        self.turn(async |room| room.meet(meet).await)
    }
}

impl Handler<Part> for RoomActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, part: Part, _: &mut Self::Context) -> Self::Result {
        self.turn(async move |room| room.part(&part))
    }
}

impl Handler<Datagram> for RoomActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, datagram: Datagram, _: &mut Self::Context) -> Self::Result {
        self.turn(async |room| room.cast(datagram).await)
    }
}
