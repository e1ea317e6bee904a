//! A session: opened under a pin, resolved, an offer and an answer, ended.

use std::time::Duration;

use super::Worker;
use crate::client::{Envelope, Error};
use crate::content::mix;
use crate::report::Kind;

/// The contract's shortest ciphertext.
const CIPHERTEXT_MIN: usize = 16;

impl Worker {
    pub(super) async fn exchange(&mut self, flow: u64) -> Result<(), Error> {
        let (home, away) = (self.home, self.away());
        let pin = format!("{:016x}{flow:x}", mix(self.run));
        let session = self.meter.measure(Kind::Create, self.here.create_session(home, &pin)).await?;
        let resolved = self.meter.measure(Kind::Resolve, self.there.resolve_session(away, &pin)).await?;
        if resolved != session {
            return Err(self.meter.wrong(Kind::Resolve, Error::Wrong("a pin stands for another session")));
        }

        let offer = self.envelope(flow, 0, &session);
        if let Some(think) = self.options.think {
            let found = self.put_while_asked(think, "offer", &offer).await?;
            self.compare(Kind::GetOffer, &found, &offer)?;
        } else if self.options.wait.is_zero() {
            self.meter.measure(Kind::PutOffer, self.here.put_envelope(home, "offer", &offer)).await?;
            self.read(false, "offer", &offer).await?;
        } else {
            self.await_offer(&offer).await?;
        }

        let answer = self.envelope(flow, 1, &session);
        if let Some(think) = self.options.think {
            let found = self.put_while_asked(think, "answer", &answer).await?;
            self.compare(Kind::GetAnswer, &found, &answer)?;
        } else {
            self.meter.measure(Kind::PutAnswer, self.there.put_envelope(away, "answer", &answer)).await?;
            self.read(true, "answer", &answer).await?;
        }
        self.meter.measure(Kind::Delete, self.here.delete_session(home, &session)).await
    }

    /// Reads an envelope here or there and compares it.
    async fn read(&mut self, here: bool, part: &'static str, expected: &Envelope) -> Result<(), Error> {
        let kind = if part == "offer" { Kind::GetOffer } else { Kind::GetAnswer };
        let (client, at) = if here { (&mut self.here, self.home) } else { (&mut self.there, self.home + 1) };
        let call = client.envelope(at, &expected.session_id, part, Duration::ZERO);
        let found = self.meter.measure(kind, call).await?;
        self.compare(kind, &found, expected)
    }

    /// The reader is there first and waits on the server until the offer is stored elsewhere.
    async fn await_offer(&mut self, offer: &Envelope) -> Result<(), Error> {
        let (home, away, wait) = (self.home, self.away(), self.options.wait);
        let start = self.meter.pacer.start().await;
        let read = self.there.envelope(away, &offer.session_id, "offer", wait);
        let write = self.here.put_envelope(home, "offer", offer);
        let (found, stored) = tokio::join!(
            self.meter.record(Kind::GetOffer, start, read),
            self.meter.record(Kind::PutOffer, start, write)
        );
        stored?;
        self.compare(Kind::GetOffer, &found?, offer)
    }

    fn compare(&self, kind: Kind, found: &Envelope, expected: &Envelope) -> Result<(), Error> {
        if found != expected {
            return Err(self.meter.wrong(kind, Error::Mismatch));
        }
        self.meter.recorder.verified(found.ct.len());
        Ok(())
    }

    fn envelope(&self, flow: u64, part: u32, session: &str) -> Envelope {
        let text = |index, length| {
            let mut out = Vec::with_capacity(length);
            self.content.write(flow, index, length, &mut out);
            String::from_utf8(out).expect("content is base64")
        };
        Envelope {
            version: 1,
            session_id: session.to_owned(),
            nonce: text(part, 16),
            ct: text(part + 2, self.options.size.max(CIPHERTEXT_MIN)),
        }
    }
}
