//! Signals posted over HTTP at one node and pushed to a socket at another.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::flow::{Flow, Receipt, Step};
use crate::client::{Client, Error, Message};
use crate::content::Content;
use crate::report::{Kind, Meter};
use crate::socket::{Closed, Event, Session, SocketTally};

/// What is posted, and to whom.
#[derive(Clone)]
pub(super) struct Letters {
    pub(super) peer: String,
    pub(super) flow: Arc<Flow>,
    pub(super) content: Content,
    pub(super) size: usize,
}

/// The receiving end.
pub(super) struct Mailbox {
    letters: Letters,
    session: Session,
    tally: Arc<SocketTally>,
    meter: Meter,
    /// The last signal received.
    seq: u64,
    /// The last signal received when the session was taken up again: up to here signals may come again.
    again: u64,
    /// Up to where acknowledgements were sent, and answered.
    acknowledging: u64,
    acknowledged: u64,
    /// Signals that came twice under two places; good only if they may have been posted twice.
    twice: BTreeSet<u64>,
}

const CLAIM: u64 = 2;
const ACK: u64 = 3;
const KIND: &str = "ice-candidate";

impl Mailbox {
    pub(super) fn new(letters: Letters, session: Session, tally: Arc<SocketTally>, meter: Meter) -> Self {
        Self {
            letters,
            session,
            tally,
            meter,
            seq: 0,
            again: 0,
            acknowledging: 0,
            acknowledged: 0,
            twice: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self, poster: Client, home: usize) {
        let meter = self.meter.clone();
        let opened = async {
            self.session.open().await?;
            self.claim().await
        };
        if meter.record(Kind::Connect, Instant::now(), opened).await.is_err() {
            return;
        }
        let letters = self.letters.clone();
        let tally = self.tally.clone();
        let (perhaps_twice, ()) =
            tokio::join!(post(poster, home, &letters, &meter, &tally), self.receive_all());
        if !self.twice.is_subset(&perhaps_twice) {
            self.wrong("a signal came twice");
        }
        self.session.close().await;
    }

    async fn claim(&mut self) -> Result<(), Error> {
        let peer = &self.letters.peer;
        let unreachable = |_: Closed| Error::Unreachable(crate::client::Fault::Io);
        let claim = format!(r#"{{"op":"claim","id":{CLAIM},"peerId":"{peer}"}}"#);
        self.session.text(claim).await.map_err(unreachable)?;
        loop {
            match self.session.next().await.map_err(unreachable)? {
                Event::Done(reply) if reply.id == Some(CLAIM) => {
                    self.session.claimed(self.letters.peer.clone());
                    return Ok(());
                }
                Event::Refused { id: Some(CLAIM), status, code } => {
                    return Err(Error::Refused { status, code });
                }
                event => self.hear(event).await.map_err(unreachable)?,
            }
        }
    }

    async fn receive_all(&mut self) {
        let flow = self.letters.flow.clone();
        loop {
            let lost = tokio::select! {
                biased;
                event = self.session.next() => match event {
                    Ok(event) => self.hear(event).await.is_err(),
                    Err(Closed { .. }) => true,
                },
                () = flow.closed() => return,
            };
            if lost && self.resume().await.is_err() {
                return;
            }
        }
    }

    async fn resume(&mut self) -> Result<(), Error> {
        let meter = self.meter.clone();
        let again = async {
            loop {
                self.again = self.seq;
                self.acknowledging = self.acknowledged;
                if self.session.open().await? {
                    return Ok(());
                }
                match self.claim().await {
                    // Lost again; the next round tries another node.
                    Err(Error::Unreachable(_)) => {}
                    other => return other,
                }
            }
        };
        meter.record(Kind::Resume, Instant::now(), again).await
    }

    async fn hear(&mut self, event: Event) -> Result<(), Closed> {
        match event {
            Event::Signal { seq, from, kind, payload } => {
                self.verify(seq, &from, &kind, &payload);
                self.acknowledge().await
            }
            Event::Done(reply) if reply.id == Some(ACK) => {
                self.acknowledged = self.acknowledged.max(self.acknowledging);
                self.acknowledge().await
            }
            Event::Refused { status, code, .. } => {
                self.meter.recorder.failure(Kind::Push, &Error::Refused { status, code });
                Ok(())
            }
            Event::Unreadable(error) => {
                self.meter.recorder.failure(Kind::Push, &error);
                Ok(())
            }
            Event::Message { .. } | Event::Done(_) | Event::Drain { .. } | Event::Other => Ok(()),
        }
    }

    fn verify(&mut self, seq: u64, from: &str, kind: &str, payload: &[u8]) {
        let now = Instant::now();
        let Letters { peer, flow, content, size } = &self.letters;
        let inside = payload.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let number = inside.and_then(|inside| flow.number(content, inside, *size));
        let Some(number) = number.filter(|_| kind == KIND && from.strip_suffix("-from") == Some(peer)) else {
            return self.meter.recorder.failure(Kind::Push, &Error::Mismatch);
        };
        if seq <= self.seq {
            return match seq <= self.again && seq > self.acknowledged {
                true => self.tally.redelivered(),
                false => self.wrong("a signal came again, or out of order"),
            };
        }
        self.seq = seq;
        match flow.receive(0, number, false) {
            Receipt::Good(times) => {
                self.meter.recorder.verified(payload.len());
                if let Some((planned, begun)) = times {
                    self.meter.recorder.success(Kind::Push, planned, begun, now);
                }
            }
            Receipt::Gap => self.wrong("a signal before this one is missing"),
            Receipt::OutOfOrder => {
                self.twice.insert(number);
            }
        }
    }

    /// One acknowledgement is on the way at a time; the next is for all that came meanwhile.
    async fn acknowledge(&mut self) -> Result<(), Closed> {
        if self.acknowledging > self.acknowledged || self.seq <= self.acknowledged {
            return Ok(());
        }
        self.acknowledging = self.seq;
        self.session.text(format!(r#"{{"op":"ack","id":{ACK},"seq":{}}}"#, self.seq)).await
    }

    fn wrong(&self, what: &'static str) {
        self.meter.recorder.failure(Kind::Push, &Error::Wrong(what));
    }
}

/// Posts until the end and waits until all has arrived. Returns what may have been posted twice.
async fn post(
    mut client: Client,
    home: usize,
    letters: &Letters,
    meter: &Meter,
    tally: &SocketTally,
) -> BTreeSet<u64> {
    let Letters { peer, flow, content, size } = letters;
    let mut perhaps_twice = BTreeSet::new();
    while let Step::Publish(planned) = flow.turn(&meter.pacer).await {
        let number = flow.publish(planned);
        let mut payload = vec![b'"'];
        payload.extend(flow.payload(content, number, *size));
        payload.push(b'"');
        let payload = String::from_utf8(payload).expect("content is base64");
        let message = Message { from: format!("{peer}-from"), kind: KIND.to_owned(), payload };
        tally.published();
        let posted = meter.record(Kind::Signal, planned, client.signal(home, peer, &message)).await;
        // One that failed may have been carried out as often.
        if !matches!(posted, Ok(false)) {
            perhaps_twice.insert(number);
        }
    }
    if let Step::Settled(1..) = flow.settled().await {
        meter.recorder.failure(Kind::Push, &Error::Wrong("an acknowledged signal is missing"));
    }
    flow.close();
    perhaps_twice
}
