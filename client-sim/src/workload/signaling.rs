//! Two peers: codes registered and looked up, an offer, an answer, candidates both ways.

use super::Worker;
use crate::client::{Error, Message};
use crate::content::mix;
use crate::report::Kind;

/// Candidates each peer sends the other.
const CANDIDATES: u32 = 3;
/// Waiting polls that may come back with too little before it counts as a loss.
const POLLS_MAX: u32 = 64;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Which way a signal goes: `here` calls, `there` is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Call,
    Back,
}

/// A signal as it was sent, and whether a lost reply may have made two of it.
struct Sent {
    message: Message,
    perhaps_twice: bool,
}

impl Worker {
    pub(super) async fn signaling(&mut self, flow: u64) -> Result<(), Error> {
        let (home, away) = (self.home, self.away());
        let peers = Peers::new(self.run, flow);
        let [caller, callee] = [&peers.caller, &peers.callee];
        self.meter.measure(Kind::Register, self.here.register(home, &peers.caller_code, caller)).await?;
        self.meter.measure(Kind::Register, self.there.register(away, &peers.callee_code, callee)).await?;
        let found = self.meter.measure(Kind::Lookup, self.here.lookup(home, &peers.callee_code)).await?;
        if found != *callee {
            return Err(self.meter.wrong(Kind::Lookup, Error::Wrong("a code stands for another peer")));
        }
        let mut echoes = Vec::new();
        self.pass(flow, &peers, Way::Call, "offer", 0..1, &mut echoes).await?;
        self.pass(flow, &peers, Way::Back, "answer", 1..2, &mut echoes).await?;
        let (there, back) = (2..2 + CANDIDATES, 2 + CANDIDATES..2 + 2 * CANDIDATES);
        self.pass(flow, &peers, Way::Call, "ice-candidate", there, &mut echoes).await?;
        self.pass(flow, &peers, Way::Back, "ice-candidate", back, &mut echoes).await
    }

    /// Passes numbered signals one way and verifies them at the other end, byte for byte and in order. `echoes` are
    /// signals of earlier passes whose other copy may still turn up.
    async fn pass(
        &mut self,
        flow: u64,
        peers: &Peers,
        way: Way,
        kind: &str,
        numbers: std::ops::Range<u32>,
        echoes: &mut Vec<Message>,
    ) -> Result<(), Error> {
        let (from, to) = match way {
            Way::Call => (&peers.caller, &peers.callee),
            Way::Back => (&peers.callee, &peers.caller),
        };
        let mut signals: Vec<Message> = numbers
            .map(|number| Message {
                from: from.clone(),
                kind: kind.to_owned(),
                payload: self.payload(flow, number, kind),
            })
            .collect();
        let (mut sent, mut found) = (Vec::new(), Vec::new());
        if let Some(think) = self.options.think {
            let calls = way == Way::Call;
            let (twice, messages) = self.post_while_polled(think, calls, to, &signals).await?;
            let pair = |(message, perhaps_twice)| Sent { message, perhaps_twice };
            sent.extend(std::mem::take(&mut signals).into_iter().zip(twice).map(pair));
            found = messages;
        }
        let mut signals = signals.into_iter();
        if !self.options.wait.is_zero()
            && let Some(first) = signals.next()
        {
            let (perhaps_twice, messages) = self.signal_to_waiting(way, to, &first).await?;
            sent.push(Sent { message: first, perhaps_twice });
            found = messages;
        }
        for message in signals {
            let (client, at) = match way {
                Way::Call => (&mut self.here, self.home),
                Way::Back => (&mut self.there, self.home + 1),
            };
            let perhaps_twice = self.meter.measure(Kind::Signal, client.signal(at, to, &message)).await?;
            sent.push(Sent { message, perhaps_twice });
        }
        self.take(way, to, &sent, found, echoes).await?;
        echoes.extend(sent.into_iter().filter(|sent| sent.perhaps_twice).map(|sent| sent.message));
        Ok(())
    }

    /// The receiver is there first and waits on the server until the signal is queued elsewhere.
    async fn signal_to_waiting(
        &mut self,
        way: Way,
        to: &str,
        message: &Message,
    ) -> Result<(bool, Vec<Message>), Error> {
        let (sender, from, receiver, at) = match way {
            Way::Call => (&mut self.here, self.home, &mut self.there, self.home + 1),
            Way::Back => (&mut self.there, self.home + 1, &mut self.here, self.home),
        };
        let start = self.meter.pacer.start().await;
        let (found, twice) = tokio::join!(
            self.meter.record(Kind::Poll, start, receiver.poll(at, to, self.options.wait)),
            self.meter.record(Kind::Signal, start, sender.signal(from, to, message))
        );
        Ok((twice?, found?))
    }

    /// Polls until everything sent is there. All signals have been acknowledged, so that a poll that does not wait
    /// must bring whatever is missing.
    async fn take(
        &mut self,
        way: Way,
        peer: &str,
        sent: &[Sent],
        mut found: Vec<Message>,
        echoes: &[Message],
    ) -> Result<(), Error> {
        let mut polls = 0;
        loop {
            match compare(sent, &found, echoes) {
                Comparison::Complete => break,
                Comparison::Lacking if polls < POLLS_MAX => {}
                Comparison::Lacking => {
                    return Err(self
                        .meter
                        .wrong(Kind::Poll, Error::Wrong("an acknowledged signal is missing")));
                }
                Comparison::Different => return Err(self.meter.wrong(Kind::Poll, Error::Mismatch)),
            }
            let (client, at) = match way {
                Way::Call => (&mut self.there, self.home + 1),
                Way::Back => (&mut self.here, self.home),
            };
            let more = self.meter.measure(Kind::Poll, client.poll(at, peer, self.options.wait)).await?;
            polls = if more.is_empty() { POLLS_MAX } else { polls + 1 };
            found.extend(more);
        }
        self.meter.recorder.verified(found.iter().map(|message| message.payload.len()).sum());
        Ok(())
    }

    fn payload(&self, flow: u64, number: u32, kind: &str) -> String {
        let mut payload = format!(r#"{{"kind":"{kind}","number":{number},"sdp":""#).into_bytes();
        self.content.write(flow, number, self.options.size, &mut payload);
        payload.extend_from_slice(b"\"}");
        String::from_utf8(payload).expect("content is base64")
    }
}

struct Peers {
    caller: String,
    callee: String,
    caller_code: String,
    callee_code: String,
}

impl Peers {
    fn new(run: u64, flow: u64) -> Self {
        let peer = |role: &str| format!("sim-{run:016x}-{flow:x}-{role}");
        Self {
            caller: peer("caller"),
            callee: peer("callee"),
            caller_code: code(mix(run ^ mix(2 * flow))),
            callee_code: code(mix(run ^ mix(2 * flow + 1))),
        }
    }
}

/// Eight letters and digits.
fn code(mut number: u64) -> String {
    let letter = |_| {
        let letter = LETTERS[(number % 62) as usize] as char;
        number /= 62;
        letter
    };
    (0..8).map(letter).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Complete,
    Lacking,
    Different,
}

/// Compares what arrived with what was sent. The second copy of a signal whose reply was lost may turn up at any
/// time after the first: both tries were requests of their own, and the server may carry out the earlier one late.
fn compare(sent: &[Sent], found: &[Message], echoes: &[Message]) -> Comparison {
    let mut matched = 0;
    for message in found {
        if sent.get(matched).is_some_and(|sent| sent.message == *message) {
            matched += 1;
            continue;
        }
        let again = |sent: &Sent| sent.perhaps_twice && sent.message == *message;
        if !sent[..matched].iter().any(again) && !echoes.contains(message) {
            return Comparison::Different;
        }
    }
    if matched == sent.len() { Comparison::Complete } else { Comparison::Lacking }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> Message {
        Message { from: "a".to_owned(), kind: "offer".to_owned(), payload: payload.to_owned() }
    }

    fn sent(payload: &str, perhaps_twice: bool) -> Sent {
        Sent { message: message(payload), perhaps_twice }
    }

    #[test]
    fn order_and_bytes_must_be_the_senders() {
        let sent = [sent("1", false), sent("2", false)];
        assert_eq!(compare(&sent, &[message("1"), message("2")], &[]), Comparison::Complete);
        assert_eq!(compare(&sent, &[message("1")], &[]), Comparison::Lacking);
        assert_eq!(compare(&sent, &[message("2"), message("1")], &[]), Comparison::Different);
        assert_eq!(compare(&sent, &[message("1"), message("2"), message("2")], &[]), Comparison::Different);
    }

    #[test]
    fn only_a_retried_signal_may_be_there_twice() {
        let retried = [sent("1", true), sent("2", false)];
        let found = [message("1"), message("1"), message("2")];
        assert_eq!(compare(&retried, &found, &[]), Comparison::Complete);
        let late = [message("1"), message("2"), message("1")];
        assert_eq!(compare(&retried, &late, &[]), Comparison::Complete);
        let plain = [sent("1", false), sent("2", false)];
        assert_eq!(compare(&plain, &found, &[]), Comparison::Different);
        assert_eq!(compare(&plain, &found, &[message("1")]), Comparison::Complete);
    }

    #[test]
    fn codes_are_what_the_contract_admits() {
        for number in [0, 1, u64::MAX] {
            let code = code(number);
            assert!(code.len() == 8 && code.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }
}
