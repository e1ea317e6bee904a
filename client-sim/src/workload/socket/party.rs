//! One socket in a room: it publishes one flow, or receives another, or both.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::time::Instant;

use super::flow::{Flow, Receipt, Step};
use crate::client::Error;
use crate::content::Content;
use crate::report::{Kind, Meter};
use crate::socket::{Event, Session, SocketTally};

pub(super) struct Party {
    pub(super) session: Session,
    pub(super) tally: Arc<SocketTally>,
    pub(super) meter: Meter,
    pub(super) content: Content,
    pub(super) size: usize,
    /// What it publishes.
    pub(super) sends: Option<Arc<Flow>>,
    /// What it receives, and as the how manieth of the receivers.
    pub(super) receives: Option<(Arc<Flow>, usize)>,
    /// Whether nobody but the one it receives from publishes in the room, so that offsets have no gap.
    pub(super) alone: bool,
    /// All parties of a room begin when each of them is in it.
    pub(super) begin: Arc<Barrier>,
    pub(super) progress: Progress,
}

/// How far a party has come; outlives its connections.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Nothing more is published.
    over: bool,
    /// All that was published is received, or given up.
    settled: bool,
    /// There is nothing more to receive.
    closed: bool,
    /// The last offset received.
    offset: Option<u64>,
    /// The history was gone, so that the next message need not follow on the last.
    forgiven: bool,
}

impl Party {
    pub(super) async fn run(mut self) {
        self.progress.settled = self.sends.is_none();
        self.progress.closed = self.receives.is_none();
        let opened = self.meter.record(Kind::Connect, Instant::now(), self.session.open()).await;
        if opened.is_ok() && self.all_there().await {
            while self.live().await.is_err() {
                if self.resume().await.is_err() {
                    break;
                }
            }
        }
        if let Some(flow) = &self.sends {
            flow.close();
        }
        self.session.close().await;
    }

    /// Waits for the others; not for ever, since one of them may have failed.
    async fn all_there(&self) -> bool {
        let begin = self.begin.clone();
        let over = async {
            while !self.meter.pacer.over() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            biased;
            _ = begin.wait() => true,
            () = over => false,
        }
    }

    /// Publishes and receives until there is nothing more to do; `Err` if the connection is lost before.
    async fn live(&mut self) -> Result<(), ()> {
        let (sends, receives) = (self.sends.clone(), self.receives.clone());
        let pacer = self.meter.pacer.clone();
        let step = async |over: bool, settled: bool| match &sends {
            Some(flow) if !over => flow.turn(&pacer).await,
            Some(flow) if !settled => flow.settled().await,
            Some(_) | None => std::future::pending().await,
        };
        let closed = async |closed: bool| match &receives {
            Some((flow, _)) if !closed => flow.closed().await,
            Some(_) | None => std::future::pending().await,
        };
        let mut next = pin!(step(self.progress.over, self.progress.settled));
        let mut end = pin!(closed(self.progress.closed));
        while !(self.progress.settled && self.progress.closed) {
            tokio::select! {
                biased;
                taken = &mut next => {
                    self.take(taken).await?;
                    next.set(step(self.progress.over, self.progress.settled));
                }
                event = self.session.next() => self.hear(event.map_err(drop)?),
                () = &mut end => {
                    self.progress.closed = true;
                    end.set(closed(true));
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, step: Step) -> Result<(), ()> {
        let Some(flow) = self.sends.clone() else { return Ok(()) };
        match step {
            Step::Publish(planned) => {
                let number = flow.publish(planned);
                let payload = flow.payload(&self.content, number, self.size);
                self.session.publish(number, payload).await.map_err(drop)
            }
            Step::Over => {
                self.progress.over = true;
                Ok(())
            }
            Step::Settled(given_up) => {
                self.progress.settled = true;
                let missing = flow.missing();
                if self.is_volatile() {
                    self.tally.lost(missing);
                } else if given_up > 0 {
                    self.wrong("a published message is missing");
                }
                flow.close();
                Ok(())
            }
        }
    }

    fn is_volatile(&self) -> bool {
        self.session.is_volatile()
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Message { offset, payload, .. } => self.verify(offset, &payload),
            Event::Refused { status, code, .. } => {
                self.meter.recorder.failure(Kind::Publish, &Error::Refused { status, code });
            }
            Event::Unreadable(error) => self.meter.recorder.failure(Kind::Deliver, &error),
            Event::Signal { .. } | Event::Done(_) | Event::Drain { .. } | Event::Other => {}
        }
    }

    fn verify(&mut self, offset: Option<u64>, payload: &[u8]) {
        let now = Instant::now();
        let Some((flow, receiver)) = &self.receives else {
            return self.wrong("a message came back to the one who published it");
        };
        let Some(number) = flow.number(&self.content, payload, self.size) else {
            return self.meter.recorder.failure(Kind::Deliver, &Error::Mismatch);
        };
        match flow.receive(*receiver, number, self.progress.forgiven) {
            Receipt::Good(times) => {
                self.meter.recorder.verified(payload.len());
                if let Some((planned, begun)) = times {
                    self.meter.recorder.success(Kind::Deliver, planned, begun, now);
                }
            }
            Receipt::Gap => self.wrong("a message before this one is missing"),
            Receipt::OutOfOrder => self.wrong("a message came twice or out of order"),
        }
        self.check(offset);
        self.progress.forgiven = false;
    }

    /// Offsets grow; by one, where nobody else publishes.
    fn check(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else {
            if !self.is_volatile() {
                self.wrong("a message has no offset");
            }
            return;
        };
        let last = self.progress.offset.replace(offset);
        if self.progress.forgiven {
            return;
        }
        match last {
            Some(last) if offset <= last => self.wrong("an offset did not grow"),
            Some(last) if self.alone && offset != last + 1 => self.wrong("an offset was skipped"),
            Some(_) | None => {}
        }
    }

    async fn resume(&mut self) -> Result<(), Error> {
        let again = self.meter.record(Kind::Resume, Instant::now(), self.session.open()).await?;
        if !again {
            self.progress.forgiven = true;
            if !self.is_volatile() {
                self.meter.recorder.failure(Kind::Resume, &Error::Wrong("the session was not recovered"));
            }
        }
        // What nobody has received may never have arrived; what has is known by its number.
        let Some(flow) = self.sends.clone().filter(|_| !self.is_volatile()) else { return Ok(()) };
        for number in flow.lacking() {
            let payload = flow.payload(&self.content, number, self.size);
            if self.session.send_again(number, payload).await.is_err() {
                // The next look at the connection finds it lost and comes here again.
                break;
            }
        }
        Ok(())
    }

    fn wrong(&self, what: &'static str) {
        self.meter.recorder.failure(Kind::Deliver, &Error::Wrong(what));
    }
}
