//! Mailboxes that many signal to and several empty.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use super::caller::Caller;
use super::keyspace::{Live, Span};
use super::register::named;
use super::relay;
use super::subject::Subject;
use super::words::{number, text, wrong};
use crate::client::Reply;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};

/// Mailboxes.
pub(super) struct Mailboxes;

const FAMILY: Family = Family::Mailbox;
const KINDS: [&str; 3] = ["offer", "answer", "ice-candidate"];
/// A mailbox is emptied before it is left, which may have to be tried again.
const LAST_POLLS: usize = 4;

impl Subject for Mailboxes {
    const SLOTS: usize = 6;
    const SPAN: Span = Span { age: Duration::from_secs(8), asked: 80 };
    const KEPT: Duration = Duration::from_secs(6);
    type Data = ();

    async fn make(&self, caller: &mut Caller) -> Option<Live<()>> {
        Some(Live::new(named(caller, "peer"), ()))
    }

    async fn ask(&self, caller: &mut Caller, mailbox: &Live<()>) -> Outcome {
        match caller.rng.random_range(0..3) {
            0 => self.see(caller, mailbox).await,
            _ => {
                let number = caller.fresh();
                signal(caller, FAMILY, &mailbox.key, number).await
            }
        }
    }

    async fn leave(&self, caller: &mut Caller, mailbox: &Live<()>) -> bool {
        for _ in 0..LAST_POLLS {
            if let Outcome::Answered(_) = self.see(caller, mailbox).await {
                break;
            }
        }
        true
    }

    async fn see(&self, caller: &mut Caller, mailbox: &Live<()>) -> Outcome {
        poll(caller, FAMILY, &mailbox.key).await
    }
}

/// Queues a signal that is known by its number.
pub(super) async fn signal(caller: &mut Caller, family: Family, key: &Arc<str>, number: u64) -> Outcome {
    let (kind, text) = (kind(number), text(number));
    let body = format!(
        r#"{{"action":"signal","from":"from-{number}","to":"{key}","type":"{kind}","payload":"{text}"}}"#
    );
    let request = relay::keyed(caller, body);
    let read = |reply: &Reply| match relay::words(reply) {
        (200, words) if words.status() == "queued" => Answer::Done,
        _ => wrong(reply),
    };
    caller.ask(family, key, Wish::Signal { number }, request, read).await
}

/// Takes what waits.
pub(super) async fn poll(caller: &mut Caller, family: Family, key: &Arc<str>) -> Outcome {
    let request = relay::keyed(caller, format!(r#"{{"action":"poll","peerId":"{key}"}}"#));
    let read = |reply: &Reply| match relay::words(reply) {
        (200, words) => {
            let messages = words.messages.unwrap_or_default();
            let numbers = messages.iter().map(|message| {
                let told = message.payload.as_str().and_then(number)?;
                let whole = message.from == format!("from-{told}") && message.kind == kind(told);
                whole.then_some(told)
            });
            numbers.collect::<Option<_>>().map_or_else(|| wrong(reply), Answer::Letters)
        }
        _ => wrong(reply),
    };
    caller.ask(family, key, Wish::Poll, request, read).await
}

fn kind(number: u64) -> &'static str {
    KINDS[(number % 3) as usize]
}
