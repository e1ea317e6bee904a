//! A transfer: uploaded through one node, received and verified through another.

use std::time::Duration;

use super::{Verify, Worker};
use crate::client::{Error, Received, Transfer};
use crate::report::Kind;

/// Of how many transfers one is received when sampling.
const SAMPLE: u64 = 8;

impl Worker {
    pub(super) async fn relay(&mut self, flow: u64) -> Result<(), Error> {
        let transfer = self.pair(flow);
        let drained = match self.options.verify {
            Verify::All => true,
            Verify::Sample => flow.is_multiple_of(SAMPLE),
            Verify::None => false,
        };
        if let Some(think) = self.options.think
            && drained
        {
            let received = self.upload_while_received(think, flow, &transfer).await?;
            return self.drain(flow, &transfer, received).await;
        }
        for index in 0..self.options.chunks {
            // What nobody will verify need not be completed.
            if !drained && self.meter.pacer.over() {
                return Ok(());
            }
            self.upload(flow, &transfer, index).await?;
        }
        if drained { self.drain(flow, &transfer, 0).await } else { Ok(()) }
    }

    async fn upload(&mut self, flow: u64, transfer: &Transfer, index: u32) -> Result<(), Error> {
        let (content, size, chunks) = (&self.content, self.options.size, self.options.chunks);
        let write = |out: &mut Vec<u8>| content.write(flow, index, size, out);
        let call = self.here.send(self.home, transfer, index, chunks, write);
        self.meter.measure(Kind::Send, call).await?;
        Ok(())
    }

    /// All sends have been acknowledged, so that every node must hand out every chunk from `from` on, in order and without
    /// delay.
    async fn drain(&mut self, flow: u64, transfer: &Transfer, from: u32) -> Result<(), Error> {
        for expected in from..self.options.chunks {
            let Received::Chunk { index, total, data } = self.receive(transfer).await? else {
                return Err(self
                    .meter
                    .wrong(Kind::Receive, Error::Wrong("an acknowledged chunk is missing")));
            };
            if index != expected || total != self.options.chunks {
                return Err(self
                    .meter
                    .wrong(Kind::Receive, Error::Wrong("another chunk than the lowest left")));
            }
            if self.content.verify(flow, index, self.options.size, &data).is_err() {
                return Err(self.meter.wrong(Kind::Receive, Error::Mismatch));
            }
            self.meter.recorder.verified(data.len());
        }
        let away = self.away();
        self.meter.measure(Kind::Ack, self.there.ack(away, transfer)).await?;
        match self.receive(transfer).await? {
            Received::Done => Ok(()),
            Received::Chunk { .. } | Received::Waiting | Received::Expired => {
                Err(self.meter.wrong(Kind::Receive, Error::Wrong("a received transfer is not done")))
            }
        }
    }

    async fn receive(&mut self, transfer: &Transfer) -> Result<Received, Error> {
        let away = self.away();
        self.meter.measure(Kind::Receive, self.there.receive(away, transfer, Duration::ZERO)).await
    }
}
