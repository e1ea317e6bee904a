//! JSON requests and their answers.

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use conclave_cluster::state::allowance::Tier;

use super::close::{Code as Close, Reason};
use super::json::{self, Writer};
use super::operations::{Code, Id, Op, Resume};
use super::outbound_queue::Frame;
use super::session::{Entry, Session, price};
use crate::access::Scope;
use crate::service::room_format::{TEXT, public_name};

/// Takes one message.
pub(super) async fn hear(session: &mut Session, text: &ByteString) {
    let (id, op) = json::read(text);
    let done = match op {
        Ok(op) => carry_out(session, &id, op).await,
        Err(code) => {
            session.land().await;
            if code == Code::InvalidJson {
                session.violation();
            }
            Err(code)
        }
    };
    match done {
        Ok(Some(answer)) => session.say(Some(Frame::Text(answer.done()))),
        Ok(None) => {}
        Err(code) => session.answer(Frame::Text(json::error(&id, code))),
    }
}

/// Answers once something that is on its way has arrived. What the client asks meanwhile does not wait, but its answer does.
fn answer_later<T>(
    session: &mut Session,
    id: &Id,
    outcome: impl Future<Output = Result<T, Code>> + 'static,
    tell: impl FnOnce(Writer, T) -> Writer + 'static,
) {
    let id = id.clone();
    session.launch(Box::pin(async move {
        let text = match outcome.await {
            Ok(value) => tell(Writer::ok(&id), value).done(),
            Err(code) => json::error(&id, code),
        };
        Some(Frame::Text(text))
    }));
}

/// Answers a request that was not read, in its turn.
pub(super) async fn refuse(session: &mut Session, id: &Id, code: Code) {
    session.land().await;
    session.say(Some(Frame::Text(json::error(id, code))));
}

/// Carries a request out. The answer, unless it was given or will be.
async fn carry_out(session: &mut Session, id: &Id, op: Op) -> Result<Option<Writer>, Code> {
    // That a credential opens sockets does not say that it may do over one what it may not do over HTTP.
    if op.scope().is_some_and(|scope| !session.context.credential.may(scope)) {
        session.land().await;
        return Err(Code::Forbidden);
    }
    match op {
        // What takes a commit does not keep the socket from anything else.
        Op::Publish { room, data, volatile: false, message_id } if session.identity.is_some() => {
            in_room(session, room.as_deref())?;
            let charge = session.due(Tier::Socket, price(data.len()))?;
            let published = session.publish(tagged(&data), message_id, charge)?;
            answer_later(session, id, published, |writer, (epoch, offset)| {
                writer.value("epoch", epoch).value("offset", offset)
            });
            return Ok(None);
        }
        Op::Signal { to, kind, payload } if session.identity.is_some() => {
            let queued = session.signal(&to, kind, payload)?;
            answer_later(session, id, queued, |writer, seq| writer.value("seq", seq));
            return Ok(None);
        }
        Op::Ack { seq } if session.identity.is_some() => {
            let acknowledged = session.acknowledge(seq)?;
            answer_later(session, id, acknowledged, |writer, ()| writer);
            return Ok(None);
        }
        _ => session.land().await,
    }
    if let Op::Hello { token, resume } = op {
        return hello(session, id, token, resume).await;
    }
    if let Op::Bye = op {
        return bye(session, id).await;
    }
    if session.identity.is_none() {
        let welcome = begin(session).await?;
        session.say(Some(Frame::Text(welcome.fill(Writer::push("welcome")).done())));
    }
    match op {
        // As the very first message: nothing is claimed and no room entered.
        Op::Signal { .. } | Op::Ack { .. } => Err(Code::NotClaimed),
        Op::Hello { .. } | Op::Bye | Op::Publish { volatile: false, .. } => Err(Code::NotInRoom),
        Op::Claim { peer, invite_code } => {
            session.claim(peer.clone(), invite_code).await?;
            Ok(Some(Writer::ok(id).text("peerId", &peer)))
        }
        Op::Lookup { invite_code } => {
            let peer = session.look_up(&invite_code).await?;
            Ok(Some(Writer::ok(id).text("peerId", &peer)))
        }
        Op::Join { room, from } => {
            if !session.context.credential.may_join(&room) {
                return Err(Code::Forbidden);
            }
            session.pay(Tier::Socket, 1)?;
            let member = session.identity.as_ref().map(|identity| public_name(&identity.key));
            let (id, name) = (id.clone(), room.clone());
            let greet = move |entry: Entry| -> super::room_event_writer::Greeting {
                Box::new(move |members| {
                    let writer = Writer::ok(&id).text("room", &name);
                    let writer = entered(writer, &entry).text("member", &member.unwrap_or_default());
                    vec![Frame::Text(writer.members(members).done())]
                })
            };
            session.enter(&room, from, greet).await?;
            Ok(None)
        }
        Op::Leave { room } => {
            in_room(session, room.as_deref())?;
            session.leave().await?;
            Ok(Some(Writer::ok(id)))
        }
        Op::Publish { room, data, volatile: true, .. } => {
            in_room(session, room.as_deref())?;
            session.cast(tagged(&data))?;
            Ok(Some(Writer::ok(id).value("volatile", true)))
        }
        Op::Members { room } => {
            let name = in_room(session, room.as_deref())?;
            session.pay(Tier::Poll, 1)?;
            let members = session.members().await?;
            Ok(Some(Writer::ok(id).text("room", &name).members(&members)))
        }
        Op::Watch(target) => {
            session.pay(Tier::Poll, 1)?;
            let (registry, cluster) = (session.services.registry.clone(), session.services.cluster.clone());
            let within = session.context.caller.namespace();
            let first = session.watches.add(target, within, &registry, &cluster).await?;
            session.say(Some(Frame::Text(Writer::ok(id).done())));
            session.say(Some(Frame::Text(first)));
            Ok(None)
        }
        Op::Unwatch(target) => {
            if session.watches.remove(&target) {
                Ok(Some(Writer::ok(id)))
            } else {
                Err(Code::NotWatched)
            }
        }
        Op::Renew { token } => {
            session.pay(Tier::Poll, 1)?;
            session.renew(&token)?;
            let left_ms = session.credential_left_ms();
            let writer = Writer::ok(id);
            Ok(Some(match left_ms {
                Some(left_ms) => writer.value("expiresMs", left_ms),
                None => writer,
            }))
        }
        Op::Ping => Ok(Some(Writer::ok(id).value("at", session.services.now_ms()))),
    }
}

/// What a client is told of its session.
struct Welcome {
    session: String,
    node: u64,
    recovered: bool,
    lease_ms: u128,
    ping_ms: u128,
    room: Option<(String, Entry)>,
}

impl Welcome {
    fn fill(&self, writer: Writer) -> Writer {
        let writer = writer
            .text("session", &self.session)
            .value("node", self.node)
            .value("recovered", self.recovered)
            .value("leaseMs", self.lease_ms)
            .value("pingMs", self.ping_ms);
        match &self.room {
            Some((name, entry)) => {
                writer.text("room", name).value("epoch", entry.epoch).value("offset", entry.offset)
            }
            None => writer,
        }
    }
}

fn welcome(session: &Session, id: String, recovered: bool) -> Welcome {
    let options = &session.sockets.options;
    Welcome {
        session: id,
        node: session.services.cluster.node_id(),
        recovered,
        lease_ms: session.services.terms.lease.as_millis(),
        ping_ms: options.ping_interval.max.as_millis(),
        room: None,
    }
}

/// Begins a session under a fresh id.
async fn begin(session: &mut Session) -> Result<Welcome, Code> {
    if !session.context.credential.may(Scope::Socket) {
        return Err(Code::Forbidden);
    }
    let id = format!("{:032x}", rand::random::<u128>());
    if session.open(&id).await? { Ok(welcome(session, id, false)) } else { Err(Code::Internal) }
}

async fn hello(
    session: &mut Session,
    id: &Id,
    token: Option<String>,
    resume: Option<Resume>,
) -> Result<Option<Writer>, Code> {
    if session.identity.is_some() {
        return Err(Code::AlreadyOpen);
    }
    // Where tokens mean nothing, clients of servers that ask for them may send theirs all the same.
    if let Some(token) = token
        && session.services.auth.is_enabled()
    {
        session.sign_in(&token)?;
    }
    // A session that is there already is no more free than a fresh one.
    if !session.context.credential.may(Scope::Socket) {
        return Err(Code::Forbidden);
    }
    let Some(resume) = resume else {
        let welcome = begin(session).await?;
        greet(session, id, &welcome);
        return Ok(None);
    };
    let Some((room, peer)) = session.resume(&resume.session).await? else {
        let welcome = begin(session).await?;
        greet(session, id, &welcome);
        return Ok(None);
    };
    let welcome = welcome(session, resume.session, true);
    match room {
        Some(name) if session.context.credential.may_join(&name) => {
            let (id, room) = (id.clone(), name.clone());
            let greet = move |entry: Entry| -> super::room_event_writer::Greeting {
                Box::new(move |_| {
                    let recovered = entry.recovered.unwrap_or(true);
                    let welcome = Welcome { recovered, room: Some((room, entry)), ..welcome };
                    twice(&id, &welcome).to_vec()
                })
            };
            session.enter(&name, resume.from, greet).await?;
        }
        Some(_) | None => greet(session, id, &welcome),
    }
    let credential = &session.context.credential;
    if let Some(peer) = peer.filter(|peer| credential.may(Scope::Signal) && credential.may_claim(peer)) {
        match session.take_mailbox(&peer, false).await {
            Ok(()) => {}
            // Its lease was over, and somebody else was faster.
            Err(Code::PeerInUse) => {}
            Err(code) => return Err(code),
        }
    }
    Ok(None)
}

/// Ends the session for good: nothing that it held is kept for a return. Then the connection closes.
async fn bye(session: &mut Session, id: &Id) -> Result<Option<Writer>, Code> {
    // What the cluster does not hear now it hears later: there is nothing to go on with.
    let text = match session.close().await {
        Ok(()) => Writer::ok(id).done(),
        Err(code) => json::error(id, code),
    };
    session.say(Some(Frame::Text(text)));
    session.end(Reason::from(Close::NORMAL));
    Ok(None)
}

/// The welcome twice: as an event, for whoever waits for those, and as the answer.
fn greet(session: &mut Session, id: &Id, welcome: &Welcome) {
    for frame in twice(id, welcome) {
        session.say(Some(frame));
    }
}

fn twice(id: &Id, welcome: &Welcome) -> [Frame; 2] {
    [Writer::push("welcome"), Writer::ok(id)].map(|writer| Frame::Text(welcome.fill(writer).done()))
}

/// A room's name, if the client is in it; without a name any room will do.
fn in_room(session: &Session, name: Option<&str>) -> Result<String, Code> {
    let room = session.room.as_ref().ok_or(Code::NotInRoom)?;
    let own = &*room.name;
    if name.is_none_or(|name| name == own) { Ok(own.to_owned()) } else { Err(Code::NotInRoom) }
}

fn entered(writer: Writer, entry: &Entry) -> Writer {
    let writer = writer.value("epoch", entry.epoch).value("offset", entry.offset);
    match entry.recovered {
        Some(recovered) => writer.value("recovered", recovered),
        None => writer,
    }
}

fn tagged(json: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(json.len() + 1);
    data.put_u8(TEXT);
    data.put_slice(json);
    data.freeze()
}
