//! Pauses between the steps of a flow, as people and their apps make them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Worker;
use crate::client::{Client, Envelope, Error, Message, Received, Transfer};
use crate::report::{Kind, Meter};

/// Between so long and so long, evenly spread. Apps without push ask every 500 to 800 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Think {
    /// The shortest pause.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Think {
    async fn pause(self) {
        let micros = rand::random_range(self.min.as_micros() as u64..=self.max.as_micros() as u64);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

/// Who asks, where, and how often.
struct Asker<'a> {
    client: &'a mut Client,
    at: usize,
    think: Think,
    meter: &'a Meter,
}

impl Worker {
    /// Posts signals one after the other while the receiver asks for them every so often; returns which of them may be
    /// there twice, and what arrived until the last was posted.
    pub(super) async fn post_while_polled(
        &mut self,
        think: Think,
        calls: bool,
        to: &str,
        signals: &[Message],
    ) -> Result<(Vec<bool>, Vec<Message>), Error> {
        let (home, away) = (self.home, self.away());
        let (sender, from, receiver, at) = match calls {
            true => (&mut self.here, home, &mut self.there, away),
            false => (&mut self.there, away, &mut self.here, home),
        };
        let (meter, posted) = (&self.meter, AtomicBool::new(false));
        let post = async {
            let mut twice = Vec::with_capacity(signals.len());
            for message in signals {
                twice.push(meter.measure(Kind::Signal, sender.signal(from, to, message)).await?);
            }
            posted.store(true, Ordering::Relaxed);
            Ok(twice)
        };
        let mut asker = Asker { client: receiver, at, think, meter };
        tokio::try_join!(post, asker.poll_until(to, &posted))
    }

    /// Stores an envelope while the reader asks for it every so often.
    pub(super) async fn put_while_asked(
        &mut self,
        think: Think,
        part: &'static str,
        envelope: &Envelope,
    ) -> Result<Envelope, Error> {
        let (home, away) = (self.home, self.away());
        let (put, get, writer, from, reader, at) = match part {
            "offer" => (Kind::PutOffer, Kind::GetOffer, &mut self.here, home, &mut self.there, away),
            _ => (Kind::PutAnswer, Kind::GetAnswer, &mut self.there, away, &mut self.here, home),
        };
        let (meter, stored) = (&self.meter, AtomicBool::new(false));
        let store = async {
            // Whoever puts it together takes as long as who waits for it.
            think.pause().await;
            meter.measure(put, writer.put_envelope(from, part, envelope)).await?;
            stored.store(true, Ordering::Relaxed);
            Ok(())
        };
        let mut asker = Asker { client: reader, at, think, meter };
        let found = asker.ask_until(get, &envelope.session_id, part, &stored);
        tokio::try_join!(store, found).map(|((), found)| found)
    }

    /// Uploads a transfer while its receiver asks for it every so often; returns how many chunks were received before
    /// the upload was seen to be complete.
    pub(super) async fn upload_while_received(
        &mut self,
        think: Think,
        flow: u64,
        transfer: &Transfer,
    ) -> Result<u32, Error> {
        let (home, away) = (self.home, self.away());
        let Self { here, there, meter, content, options, .. } = self;
        let (meter, sent) = (&*meter, AtomicBool::new(false));
        let upload = async {
            for index in 0..options.chunks {
                let write = |out: &mut Vec<u8>| content.write(flow, index, options.size, out);
                meter.measure(Kind::Send, here.send(home, transfer, index, options.chunks, write)).await?;
            }
            sent.store(true, Ordering::Relaxed);
            Ok(())
        };
        let mut asker = Asker { client: there, at: away, think, meter };
        let receive = async {
            let mut next = 0;
            while !sent.load(Ordering::Relaxed) {
                asker.think.pause().await;
                while let Received::Chunk { index, data, .. } = asker.receive(transfer).await? {
                    if index != next || content.verify(flow, index, options.size, &data).is_err() {
                        return Err(meter.wrong(Kind::Receive, Error::Mismatch));
                    }
                    meter.recorder.verified(data.len());
                    next += 1;
                    if next == options.chunks {
                        break;
                    }
                }
            }
            Ok(next)
        };
        tokio::try_join!(upload, receive).map(|((), received)| received)
    }
}

impl Asker<'_> {
    async fn poll_until(&mut self, peer: &str, posted: &AtomicBool) -> Result<Vec<Message>, Error> {
        let mut found = Vec::new();
        while !posted.load(Ordering::Relaxed) {
            self.think.pause().await;
            let poll = self.client.poll(self.at, peer, Duration::ZERO);
            found.extend(self.meter.measure(Kind::Poll, poll).await?);
        }
        Ok(found)
    }

    /// Not to be there is an answer like any other until it has been stored.
    async fn ask_until(
        &mut self,
        kind: Kind,
        session: &str,
        part: &'static str,
        stored: &AtomicBool,
    ) -> Result<Envelope, Error> {
        loop {
            self.think.pause().await;
            let must_be_there = stored.load(Ordering::Relaxed);
            let ask = async {
                match self.client.envelope(self.at, session, part, Duration::ZERO).await {
                    Ok(envelope) => Ok(Some(envelope)),
                    Err(Error::Refused { status: 404, .. }) if !must_be_there => Ok(None),
                    Err(error) => Err(error),
                }
            };
            if let Some(envelope) = self.meter.measure(kind, ask).await? {
                return Ok(envelope);
            }
        }
    }

    async fn receive(&mut self, transfer: &Transfer) -> Result<Received, Error> {
        let receive = self.client.receive(self.at, transfer, Duration::ZERO);
        self.meter.measure(Kind::Receive, receive).await
    }
}
