//! The room of a socket: entered, caught up with, spoken in.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::query::{self, Page};
use conclave_cluster::state::{room, socket};
use futures_util::future::join;

use super::super::close::{Code as Close, Reason};
use super::super::connections::Encoding;
use super::super::operations::{Code, Position};
use super::super::room_event_writer::{Greeting, RoomSubscriber, Wire};
use super::{BATCH_BYTES_MAX, BATCH_MAX, Entered, Entry, Identity, Session};
use crate::access::tier_limits::millis;
use crate::actors::room::{Broadcast, Event, onward};
use crate::service::endings::Ending;
use crate::service::node_lease::Unsettled;
use crate::service::webhooks::Joined;
use crate::service::{self, storage_keys};

/// For how long a member stays in its room whose connection was lost.
const GRACE: Duration = Duration::from_secs(10);

/// A room that this socket's session is a member of, as the cluster knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) room: Key,
    member: Key,
    /// That of the socket's connection, by which later ones of the session are told from it.
    pub(super) generation: Generation,
    /// Its number is the membership's own, so that what ends this one, whenever the cluster hears it, ends no later one.
    pub(super) at: Attachment,
}

impl Membership {
    fn new(room: Key, member: Key, generation: Generation, socket: Attachment) -> Self {
        let at = Attachment { connection: rand::random(), ..socket };
        Self { room, member, generation, at }
    }

    /// Begins it, or ties it to this node's lease again.
    pub(super) fn join(&self) -> Op {
        let &Self { member, generation, at, .. } = self;
        self.ask(room::Action::Join { member, generation, at, grace_ms: millis(GRACE) })
    }

    /// Ends it at once.
    pub(super) fn leave(&self) -> Op {
        self.ask(room::Action::Leave { member: self.member, connection: self.at.connection })
    }

    /// Ends it after the grace.
    pub(super) fn detach(&self) -> Op {
        self.ask(room::Action::Detach { member: self.member, connection: self.at.connection })
    }

    fn ask(&self, action: room::Action) -> Op {
        Op::Room(room::Op { key: self.room, action })
    }
}

impl Session {
    /// Whether there is something to read as soon as the client has taken what waits.
    pub(super) fn wants_room(&self) -> bool {
        self.peer.as_ref().is_some_and(|held| held.dirty)
            || self.room.as_ref().is_some_and(|room| room.behind.is_some())
    }

    /// The client has room for more.
    pub(super) async fn refill(&mut self) {
        if self.peer.as_ref().is_some_and(|held| held.dirty) {
            self.push_mail().await;
        }
        if self.room.as_ref().is_some_and(|room| room.behind.is_some()) {
            self.read_on().await;
        }
    }

    /// Enters a room and leaves the one before. `greet` makes what is said first, now that it is known who is there. If it
    /// comes to nothing, the client is in the room before as it was, and is no member of this one.
    pub(in crate::transport::ws) async fn enter(
        &mut self,
        name: &str,
        from: Option<Position>,
        greet: impl FnOnce(Entry) -> Greeting,
    ) -> Result<Entry, Code> {
        let returns = std::mem::take(&mut self.returns);
        let Some(Identity { key: member, at, generation, .. }) = self.identity else {
            return Err(Code::Internal);
        };
        let key = self.context.caller.namespace().room(name).key;
        let before = self.room.as_ref().map(|room| room.membership);
        let known = before.filter(|before| before.room == key);
        let membership = known.unwrap_or_else(|| Membership::new(key, member, generation, at));
        // Whoever comes back was a member, and stays one for as long as if it had not.
        let end = if returns { membership.detach() } else { membership.leave() };
        let unsettled = match known {
            Some(_) => None,
            None => Some(self.unsettled(at.incarnation, end)?),
        };
        let noted = socket::Action::Enter { connection: at.connection, room: Some(name.to_owned()) };
        let noting = Op::Socket(socket::Op { key: member, action: noted.clone() });
        // Noted at once, but where there is a room to go on with.
        let switches = before.is_some() && known.is_none();
        let note = async { if switches { None } else { Some(self.propose(noting).await) } };
        let (joined, noted_at_once) = join(self.propose(membership.join()), note).await;
        let (epoch, offset) = match joined {
            Ok(Ok(Outcome::Room(room::Outcome::Joined { epoch, offset, .. }))) => (epoch, offset),
            Ok(Ok(_)) => return Err(Code::Internal),
            Err(Code::NoLeader) => return Err(Code::NoLeader),
            Ok(Err(Refusal::Socket(_))) => {
                unsettled.into_iter().for_each(Unsettled::settle);
                return Err(self.replaced());
            }
            // It was not done.
            Ok(Err(refusal)) => {
                unsettled.into_iter().for_each(Unsettled::settle);
                if before.is_none() {
                    self.note(member, socket::Action::Enter { connection: at.connection, room: None })
                        .await?;
                }
                return Err(service::Error::Refused(refusal).into());
            }
            Err(code) => {
                unsettled.into_iter().for_each(Unsettled::settle);
                return Err(code);
            }
        };
        if let Some(noted) = noted_at_once {
            self.heed(noted)?;
        }
        // Whoever was there before the room was misses all that was said in it.
        let from =
            from.map(|from| if from == Position::BEFORE_ALL { Position { epoch, ..from } } else { from });
        // This node's replica has the membership after this.
        let view = self.services.cluster.read_linearizable(query::Room(key)).await?;
        let complete = |from: &Position| {
            from.epoch == epoch
                && from.offset <= offset
                && view.is_some_and(|view| view.epoch == epoch && view.first <= from.offset + 1)
        };
        let recovered = from.as_ref().map(complete);
        let encoding = match self.entry.encoding() {
            Encoding::FlatBuffers => Wire::Sigma,
            Encoding::Json | Encoding::Undecided => Wire::Json(name.into()),
        };
        let after = match (&from, &encoding) {
            (Some(from), _) if complete(from) => from.offset,
            // Its clients take what they are told and ask for nothing: they are told what is left.
            (Some(from), Wire::Sigma) if from.epoch != epoch || from.offset <= offset => {
                view.filter(|view| view.epoch == epoch).map_or(offset, |view| view.first - 1)
            }
            (Some(_) | None, _) => offset,
        };
        let entry = Entry { epoch, offset, after, recovered };
        let presence = self.services.registry.enter(key, member, membership.at.connection)?;
        if switches {
            self.note(member, noted).await?;
        }
        let unsettled = match unsettled {
            Some(unsettled) => unsettled,
            None => self.unsettled(at.incarnation, membership.leave())?,
        };
        // The place before is given up first, or the member would be told twice.
        let stays = self.part(known.is_none()).await;
        let subscriber = RoomSubscriber::new(self.outbound.clone(), encoding.clone(), greet(entry));
        let live = presence.attach(after, Box::new(subscriber)).await?;
        unsettled.settle();
        self.entry.note_room(true);
        let Some(identity) = &self.identity else { return Err(Code::Internal) };
        let stay = stays.unwrap_or_else(|| identity.connected.joined(&key, returns));
        let behind = (!live).then_some(after);
        let name = Arc::from(name);
        let edge = recovered == Some(false) && matches!(encoding, Wire::Sigma);
        self.room = Some(Entered { name, membership, epoch, presence, stay, encoding, behind, edge });
        Ok(entry)
    }

    /// From here on it is followed, and known on every node, how far the client gets. Its own last message was number `said`.
    pub(in crate::transport::ws) async fn follow(&mut self, entry: &Entry, said: u64) -> Result<(), Code> {
        let Some(Identity { key, at, .. }) = self.identity else { return Err(Code::Internal) };
        let lost = entry.recovered == Some(false);
        let mark = self.entry.arrivals().begin(key, entry.epoch, entry.after, said, lost);
        self.note(key, socket::Action::Mark { connection: at.connection, mark }).await
    }

    /// Leaves the room, if it is in one. If it comes to nothing, the client is in it as before.
    pub(in crate::transport::ws) async fn leave(&mut self) -> Result<(), Code> {
        let Some(Identity { key, at, .. }) = self.identity.as_ref().filter(|_| self.room.is_some()) else {
            return Ok(());
        };
        let (key, noted) = (*key, socket::Action::Enter { connection: at.connection, room: None });
        self.note(key, noted).await?;
        self.part(true).await;
        Ok(())
    }

    /// Is in the room no more. `leaves` the membership, too; what the cluster does not hear of that now it hears later. Gives
    /// back its stay, if it does not leave.
    async fn part(&mut self, leaves: bool) -> Option<Joined> {
        let mut room = self.room.take()?;
        self.entry.note_room(false);
        let membership = room.membership;
        let mut stay = std::mem::take(&mut room.stay);
        // Before the membership ends, so that this client is not told to come anew.
        drop(room);
        if !leaves {
            return Some(stay);
        }
        stay.end(false);
        let ending = Ending::new(membership.at.incarnation, vec![membership.leave()]);
        let _ = self.services.lease.end(ending).await;
        None
    }

    /// Says something in the room. `data` begins with the byte that says what it is. `charge` is spent with it, unless it was
    /// spent before.
    pub(in crate::transport::ws) fn publish(
        &self,
        data: Bytes,
        message_id: Option<u64>,
        charge: Option<Charge>,
    ) -> Result<impl Future<Output = Result<(u64, u64), Code>> + use<>, Code> {
        let (Some(room), Some(identity)) = (&self.room, &self.identity) else { return Err(Code::NotInRoom) };
        let history = self.sockets.options.history;
        let keep = room::Keep {
            count: history.messages_max,
            bytes: history.bytes_max,
            age_ms: millis(history.age_max),
        };
        let message_id = message_id.map(|id| storage_keys::message_number(identity.numbering, id));
        let action = room::Action::Publish { member: identity.key, message_id, data: Body::new(data), keep };
        let op = Op::Room(room::Op { key: room.membership.room, action });
        let (services, caller) = (self.services.clone(), self.context.caller.clone());
        Ok(async move {
            match services.change(&caller, charge, None, op).await? {
                Outcome::Room(room::Outcome::Published { epoch, offset, .. }) => Ok((epoch, offset)),
                _ => Err(Code::Internal),
            }
        })
    }

    /// Says something in the room to whoever is there now.
    pub(in crate::transport::ws) fn cast(&self, data: Bytes) -> Result<(), Code> {
        let (Some(room), Some(identity)) = (&self.room, &self.identity) else { return Err(Code::NotInRoom) };
        let onward = onward(&room.membership.room, &identity.key, &data);
        if room.presence.cast(data, onward) { Ok(()) } else { Err(Code::Overloaded) }
    }

    /// Who is in the room.
    pub(in crate::transport::ws) async fn members(&self) -> Result<Vec<Key>, Code> {
        let key = self.room.as_ref().ok_or(Code::NotInRoom)?.membership.room;
        Ok(self.services.cluster.read_linearizable(query::RoomMembers(key)).await?)
    }

    /// Reads more of the history that this member lacks, until it meets the others.
    pub(super) async fn read_on(&mut self) {
        let (Some(room), Some(identity)) = (&mut self.room, &self.identity) else { return };
        let Some(after) = room.behind else { return };
        let page = Page { after, count_max: BATCH_MAX, bytes_max: BATCH_BYTES_MAX };
        let key = room.membership.room;
        let look = (query::Room(key), query::RoomMessages(key, page));
        let Ok((view, messages)) = self.services.cluster.read_stale(look).await else {
            return self.end(Reason::from(Close::LATER));
        };
        let next = messages.first().map(|message| message.offset).or(view.map(|view| view.last + 1));
        let there = view.is_some_and(|view| view.epoch == room.epoch);
        let Some(next) = next.filter(|next| there && (*next == after + 1 || room.edge && *next > after))
        else {
            // It went out of the history while the client was reading.
            return self.end(Reason::new(Close::LATER, "rejoin the room"));
        };
        room.edge = false;
        let mut read = next - 1;
        for message in messages {
            read = message.offset;
            if message.member == identity.key {
                room.encoding.pass(&self.outbound, read);
                continue;
            }
            let note = Broadcast::new(room.epoch, Event::Message(message));
            if let Some(frame) = room.encoding.spell(&note, self.outbound.account().all())
                && !self.outbound.push_shared(frame)
            {
                self.over = true;
                return;
            }
        }
        room.behind = match room.presence.meet(read).await {
            Ok(true) => None,
            Ok(false) => Some(read),
            Err(_) => return self.end(Reason::from(Close::LATER)),
        };
    }
}

/// What a price buys of a message: one more for each so many bytes.
const UNIT_BYTES: usize = 16 << 10;

/// What a message costs, as `signal`: small ones one each, and a client that sends what one socket may send at most fits
/// into the default allowance three times.
pub(in crate::transport::ws) fn price(bytes: usize) -> u32 {
    1 + u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_at_its_rates_fits_into_the_allowance() {
        assert_eq!((price(0), price(16 << 10), price(64 << 10)), (1, 2, 5));
        // A minute of 100 messages a second that come to 1 MiB a second.
        let a_minute = 60 * 100 * price((1 << 20) / 100);
        assert!(a_minute * 3 <= 30_000, "{a_minute}");
        // And of 1 MiB a second in the largest messages.
        assert!(60 * 16 * price(64 << 10) * 3 <= 30_000);
    }
}
