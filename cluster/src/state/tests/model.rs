//! The state against a model that is too simple to be wrong: plain maps, everything looked at every time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::allowance::{Charge, Tier};
use super::super::limits::MAILBOX_HEAD_MS;
use super::super::outcome::Scope;
use super::super::transfer::Encoding;
use super::super::{mailbox, transfer};
use super::histories::{charge, history, mailbox_ask, transfer_ask};
use super::*;

#[derive(Default)]
struct Model {
    now_ms: u64,
    transfers: BTreeMap<Key, Transfer>,
    acknowledgements: BTreeMap<Key, u64>,
    mailboxes: BTreeMap<Key, Mailbox>,
    windows: BTreeMap<(Key, Tier), (u32, u64)>,
}

struct Transfer {
    chunks: Vec<Option<(Encoding, Body)>>,
    delivered: Vec<bool>,
    acknowledged: bool,
    freed: bool,
    expires_ms: u64,
}

#[derive(Default)]
struct Mailbox {
    last_seq: u64,
    keep_ms: u64,
    messages: Vec<mailbox::Message>,
}

impl Model {
    fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.transfers.retain(|_, transfer| now_ms < transfer.expires_ms);
        self.acknowledgements.retain(|_, expires_ms| now_ms < *expires_ms);
        self.windows.retain(|_, (_, reset_ms)| now_ms < *reset_ms);
        self.mailboxes.retain(|_, mailbox| {
            mailbox.messages.retain(|message| now_ms < message.expires_ms);
            now_ms < mailbox.keep_ms
        });
    }

    fn carry_out(&mut self, command: Command) -> Result<Outcome, Refusal> {
        if let Some(charge) = command.payment.charge() {
            self.spend(charge)?;
        }
        match command.op {
            Op::Transfer(op) => self.transfer(op).map(Into::into).map_err(Into::into),
            Op::Mailbox(op) => Ok(self.mailbox(op).into()),
            other => panic!("not modelled: {other:?}"),
        }
    }

    fn spend(&mut self, charge: &Charge) -> Result<(), Refusal> {
        let fresh = (0, self.now_ms + u64::from(charge.window_ms));
        let (spent, reset_ms) = self.windows.get(&(charge.client, charge.tier)).copied().unwrap_or(fresh);
        if spent + charge.count > charge.limit && charge.count > 0 {
            return Err(Refusal::Allowance { retry_after_ms: reset_ms - self.now_ms, scope: Scope::Client });
        }
        if charge.count > 0 {
            self.windows.insert((charge.client, charge.tier), (spent + charge.count, reset_ms));
        }
        Ok(())
    }

    fn transfer(&mut self, op: transfer::Op) -> Result<transfer::Outcome, transfer::Refusal> {
        use transfer::{Action, Outcome, Refusal};
        let expires_ms = self.now_ms + u64::from(op.ttl_ms.max(1));
        let fresh = |total: u16| Transfer {
            chunks: vec![None; total.into()],
            delivered: vec![false; total.into()],
            acknowledged: false,
            freed: false,
            expires_ms,
        };
        let in_range = |total: u16| (1..=2048).contains(&total);
        let live = self.transfers.get_mut(&op.key);
        let outcome = match (op.action, live) {
            (Action::Open { total }, _) if !in_range(total) => return Err(Refusal::OutOfRange),
            (Action::Open { total }, Some(live)) if live.chunks.len() != total.into() => {
                return Err(Refusal::TotalMismatch);
            }
            (Action::Open { .. }, Some(_)) => Outcome::Opened { created: false },
            (Action::Open { total }, None) => {
                self.acknowledgements.remove(&op.key);
                self.transfers.insert(op.key, fresh(total));
                Outcome::Opened { created: true }
            }
            (Action::Put { index, total: Some(total), .. }, _) if !in_range(total) || index >= total => {
                return Err(Refusal::OutOfRange);
            }
            (Action::Put { total: Some(total), .. }, Some(live)) if live.chunks.len() != total.into() => {
                return Err(Refusal::TotalMismatch);
            }
            (Action::Put { total: None, .. }, None) => return Err(Refusal::Absent),
            (Action::Put { index, total, encoding, body, .. }, live) => {
                let live = match live {
                    Some(live) => live,
                    None => {
                        self.acknowledgements.remove(&op.key);
                        self.transfers.entry(op.key).or_insert(fresh(total.unwrap()))
                    }
                };
                match live.chunks.get(usize::from(index)) {
                    None => return Err(Refusal::OutOfRange),
                    Some(_) if live.delivered[usize::from(index)] => return Err(Refusal::Delivered),
                    Some(Some(known)) if *known == (encoding, body.clone()) => Outcome::Duplicate,
                    Some(Some(_)) => return Err(Refusal::Conflict),
                    Some(None) => {
                        live.chunks[usize::from(index)] = Some((encoding, body));
                        Outcome::Stored
                    }
                }
            }
            (Action::Take | Action::Touch, None) => Outcome::Absent,
            (Action::Take, Some(live)) => {
                let next = (0..live.chunks.len()).find(|&n| live.chunks[n].is_some() && !live.delivered[n]);
                match next {
                    Some(index) => {
                        live.delivered[index] = true;
                        let (encoding, body) = live.chunks[index].clone().unwrap();
                        let total = live.chunks.len() as u16;
                        Outcome::Chunk { index: index as u16, total, encoding, body }
                    }
                    None if !live.delivered.iter().all(|it| *it) => Outcome::Waiting,
                    None if live.acknowledged => {
                        self.transfers.remove(&op.key);
                        Outcome::Done
                    }
                    None => Outcome::Done,
                }
            }
            (Action::Acknowledge { existing: true }, None) => return Err(Refusal::Absent),
            (Action::Acknowledge { existing }, live) => {
                self.acknowledgements.insert(op.key, expires_ms);
                if let Some(live) = live {
                    live.acknowledged = true;
                    if existing && live.chunks.iter().all(Option::is_some) {
                        live.delivered.fill(true);
                    }
                    live.freed |= live.delivered.iter().all(|it| *it);
                }
                Outcome::Acknowledged
            }
            (Action::Discard, None) => return Err(Refusal::Absent),
            (Action::Discard, Some(_)) => {
                self.transfers.remove(&op.key);
                self.acknowledgements.remove(&op.key);
                Outcome::Discarded
            }
            (Action::Touch, Some(_)) => Outcome::Touched,
        };
        if let Some(live) = self.transfers.get_mut(&op.key) {
            live.expires_ms = expires_ms;
        }
        Ok(outcome)
    }

    fn mailbox(&mut self, op: mailbox::Op) -> mailbox::Outcome {
        match op.action {
            mailbox::Action::Push { from, kind, payload, ttl_ms } => {
                let mailbox = self.mailboxes.entry(op.key).or_default();
                if mailbox.last_seq == 0 {
                    mailbox.last_seq = (self.now_ms << 10) - 1;
                }
                mailbox.last_seq += 1;
                let (seq, at_ms) = (mailbox.last_seq, self.now_ms);
                let expires_ms = at_ms + u64::from(ttl_ms.max(1));
                mailbox.keep_ms = mailbox.keep_ms.max(expires_ms + MAILBOX_HEAD_MS);
                mailbox.messages.push(mailbox::Message { seq, from, kind, payload, at_ms, expires_ms });
                mailbox::Outcome::Queued { seq }
            }
            mailbox::Action::Drain { bytes_max } => {
                let Some(mailbox) = self.mailboxes.get_mut(&op.key) else {
                    return mailbox::Outcome::Messages(Vec::new());
                };
                let mut given = 0;
                let mut bytes = 0;
                for message in &mailbox.messages {
                    bytes += message.payload.len();
                    if given > 0 && bytes > bytes_max as usize {
                        break;
                    }
                    given += 1;
                }
                mailbox::Outcome::Messages(mailbox.messages.drain(..given).collect())
            }
            mailbox::Action::Acknowledge { .. } => panic!("not modelled: sockets"),
        }
    }

    fn compare(&self, state: &State) {
        for name in 0_u8..3 {
            let key = Key::derive(Domain::Transfer, &[&[name]]);
            let model = self.transfers.get(&key);
            let view = query::Transfer(key).answer(state, self.now_ms);
            assert_eq!(view.is_some(), model.is_some());
            assert_eq!(
                query::Acknowledged(key).answer(state, self.now_ms),
                self.acknowledgements.contains_key(&key)
            );
            if let (Some(view), Some(model)) = (view, model) {
                assert_eq!(view.expires_ms, model.expires_ms);
                assert_eq!(view.acknowledged, model.acknowledged);
                assert_eq!(usize::from(view.delivered), model.delivered.iter().filter(|it| **it).count());
                for (index, chunk) in (0..).zip(&model.chunks) {
                    let within = view.received.iter().any(|(first, last)| (first..=last).contains(&&index));
                    assert_eq!(within, chunk.is_some());
                    let read = query::Chunk(key, index)
                        .answer(state, self.now_ms)
                        .map(|(encoding, _, body)| (encoding, body));
                    assert_eq!(read, chunk.clone().filter(|_| !model.freed));
                }
            }
            let key = Key::derive(Domain::Mailbox, &[&[name]]);
            let waiting = self.mailboxes.get(&key).map_or(0, |mailbox| mailbox.messages.len());
            assert_eq!(query::Waiting(key).answer(state, self.now_ms), waiting);
        }
        assert_eq!(state.counts().transfers, self.transfers.len());
        assert_eq!(state.counts().mailboxes, self.mailboxes.len());
        assert_eq!(state.counts().windows, self.windows.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_state_does_what_the_model_does(steps in history(
        (prop::option::weighted(0.2, charge()).prop_map(Payment::from), prop_oneof![
            3 => transfer_ask().prop_map(Op::Transfer),
            1 => mailbox_ask().prop_map(Op::Mailbox),
        ]).prop_map(|(payment, op)| Command { id: RequestId { origin: 0, seq: 0 }, payment, owner: None, idempotency_key: None, op })
    )) {
        let mut lab = Lab::new();
        let mut model = Model::default();
        for (dt, commands) in steps {
            // Now and then a wait so long that a mailbox's numbering begins anew.
            lab.wait(if dt == 249 { MAILBOX_HEAD_MS } else { dt });
            model.advance(lab.now_ms);
            let answers = lab.apply(Vec::new(), commands.clone());
            let expected: Vec<_> = commands.into_iter().map(|command| model.carry_out(command)).collect();
            let outcomes: Vec<_> = answers.into_iter().map(|answer| answer.outcome).collect();
            prop_assert_eq!(outcomes, expected);
            model.compare(&lab.state);
        }
    }
}
