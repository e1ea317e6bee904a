//! Transfers that many send to and several receive from, by both doors.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, Uri};
use rand::RngExt as _;

use super::caller::Caller;
use super::keyspace::{Live, Span};
use super::register::named;
use super::relay;
use super::subject::Subject;
use super::words::{Words, number, text, wrong};
use crate::client::{Reply, Request};
use crate::proof::Family;
use crate::proof::check::CHUNKS;
use crate::proof::history::{Answer, Outcome, Wish};

/// Transfers.
pub(super) struct Transfers;

/// What clients know of one.
pub(super) struct Known {
    /// Its name at the other door.
    id: String,
    /// What its chunks' contents are derived from.
    number: u64,
}

const FAMILY: Family = Family::Transfer;
const TRANSFERS: &str = "/api/v1/transfers";
const HASH: &str = "hash";

type Thing = Live<Known>;

impl Subject for Transfers {
    const SLOTS: usize = 6;
    const SPAN: Span = Span { age: Duration::from_secs(12), asked: 80 };
    const KEPT: Duration = Duration::from_secs(20);
    type Data = Known;

    async fn make(&self, caller: &mut Caller) -> Option<Thing> {
        open(caller, FAMILY).await
    }

    async fn ask(&self, caller: &mut Caller, thing: &Thing) -> Outcome {
        match caller.rng.random_range(0..100) {
            0..30 => send(caller, thing).await,
            30..40 => store(caller, thing).await,
            40..70 => receive(caller, thing).await,
            70..80 => read(caller, thing).await,
            80..90 => self.see(caller, thing).await,
            90..95 => said(caller, thing).await,
            95..98 => ack(caller, thing).await,
            _ => finish(caller, thing).await,
        }
    }

    async fn see(&self, caller: &mut Caller, thing: &Thing) -> Outcome {
        view(caller, FAMILY, thing).await
    }

    /// Sees how it looks, then takes what is left.
    async fn look(&self, caller: &mut Caller, thing: &Thing, answers: &[Answer]) -> Option<Outcome> {
        match answers {
            [] => Some(self.see(caller, thing).await),
            [.., Answer::Sight { .. } | Answer::Chunk { .. }] => Some(receive(caller, thing).await),
            _ => None,
        }
    }
}

/// Begins a transfer.
pub(super) async fn open(caller: &mut Caller, family: Family) -> Option<Thing> {
    let pin = named(caller, "transfer");
    let body = format!(r#"{{"pin":"{pin}","passwordHash":"{HASH}","totalChunks":{CHUNKS}}}"#);
    let id = OnceLock::new();
    let read = |reply: &Reply| match (reply.status, Words::of(reply).transfer_id) {
        (201, Some(told)) if is_id(&told) => {
            id.get_or_init(|| told);
            Answer::Done
        }
        _ => wrong(reply),
    };
    let request = Request::post(Uri::from_static(TRANSFERS), body);
    caller.ask(family, &pin, Wish::Open, request, read).await;
    let Some(id) = id.into_inner() else {
        caller.close(&pin);
        return None;
    };
    Some(Live::new(pin, Known { id, number: caller.fresh() }))
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
}

impl Known {
    /// What a chunk consists of.
    fn content(&self, index: u16, variant: u8) -> String {
        text(self.number << 16 | u64::from(index) << 8 | u64::from(variant))
    }

    /// Which of the two contents of a chunk this is.
    fn variant(&self, index: u16, content: &[u8]) -> Option<u8> {
        let told = number(std::str::from_utf8(content).ok()?)?;
        let [.., variant] = told.to_be_bytes();
        (told >> 8 == self.number << 8 | u64::from(index)).then_some(variant)
    }
}

fn pick(caller: &mut Caller) -> (u16, u8) {
    // Mostly the same content, so that conflicts are the exception.
    (caller.rng.random_range(0..CHUNKS), u8::from(caller.rng.random_range(0..5) == 0))
}

async fn send(caller: &mut Caller, thing: &Thing) -> Outcome {
    let (index, variant) = pick(caller);
    let (pin, data) = (&thing.key, STANDARD.encode(thing.data.content(index, variant)));
    let body = format!(
        r#"{{"action":"send","pin":"{pin}","passwordHash":"{HASH}","chunkIndex":{index},"totalChunks":{CHUNKS},"data":"{data}"}}"#
    );
    let request = relay::keyed(caller, body);
    let read = |reply: &Reply| match relay::words(reply) {
        (200, words) if words.error() == "duplicate_chunk" => Answer::Conflict,
        (200, words) if words.error().is_empty() && words.status() == "waiting" => {
            if words.duplicate {
                Answer::Duplicate
            } else {
                Answer::Done
            }
        }
        _ => wrong(reply),
    };
    caller.ask(FAMILY, pin, Wish::Send { index, variant }, request, read).await
}

async fn store(caller: &mut Caller, thing: &Thing) -> Outcome {
    let (index, variant) = pick(caller);
    let path = format!("{TRANSFERS}/{}/chunks/{index}", thing.data.id);
    let content = thing.data.content(index, variant);
    let request = Request { method: Method::PUT, ..Request::post(path_of(&path), content) };
    let read = |reply: &Reply| match relay::words(reply) {
        (201, _) => Answer::Done,
        (200, words) if words.duplicate => Answer::Duplicate,
        (409, words) if words.error() == "chunk_conflict" => Answer::Conflict,
        (404, words) if words.error() == "not_found" => Answer::Gone,
        _ => wrong(reply),
    };
    caller.ask(FAMILY, &thing.key, Wish::Store { index, variant }, request, read).await
}

async fn receive(caller: &mut Caller, thing: &Thing) -> Outcome {
    let body = format!(r#"{{"action":"receive","pin":"{}","passwordHash":"{HASH}"}}"#, thing.key);
    let request = relay::keyed(caller, body);
    let read = |reply: &Reply| {
        let (status, words) = relay::words(reply);
        match (status, words.status(), &words.chunk) {
            (200, "chunkAvailable", Some(chunk)) if chunk.total_chunks == CHUNKS => {
                let index = chunk.chunk_index;
                let content = STANDARD.decode(&chunk.data).ok();
                let variant = content.and_then(|content| thing.data.variant(index, &content));
                variant.map_or_else(|| wrong(reply), |variant| Answer::Chunk { index, variant })
            }
            (200, "waiting", None) => Answer::Nothing,
            (200, "done", None) => Answer::Complete,
            (200, "expired", None) => Answer::Gone,
            _ => wrong(reply),
        }
    };
    caller.ask(FAMILY, &thing.key, Wish::Receive, request, read).await
}

async fn read(caller: &mut Caller, thing: &Thing) -> Outcome {
    let (index, _) = pick(caller);
    let path = format!("{TRANSFERS}/{}/chunks/{index}", thing.data.id);
    let read = |reply: &Reply| match (reply.status, Words::of(reply).error()) {
        (200, _) => {
            let variant = thing.data.variant(index, &reply.body);
            variant.map_or_else(|| wrong(reply), |variant| Answer::Chunk { index, variant })
        }
        (404, "not_found") => Answer::Gone,
        _ => wrong(reply),
    };
    let request = Request::bare(Method::GET, path_of(&path));
    caller.ask(FAMILY, &thing.key, Wish::Read { index }, request, read).await
}

/// Looks at it.
pub(super) async fn view(caller: &mut Caller, family: Family, thing: &Thing) -> Outcome {
    let request = Request::bare(Method::GET, path_of(&format!("{TRANSFERS}/{}", thing.data.id)));
    let read = |reply: &Reply| {
        let (status, words) = relay::words(reply);
        match (status, &words.received, words.delivered) {
            (200, Some(ranges), Some(delivered)) if words.total_chunks == Some(CHUNKS) => {
                let within = |(first, last): &(u16, u16)| first <= last && *last < CHUNKS;
                if !ranges.iter().all(within) {
                    return wrong(reply);
                }
                let bits = ranges.iter().flat_map(|(first, last)| *first..=*last).map(|index| 1_u64 << index);
                let acknowledged = words.acknowledged.unwrap_or_default();
                Answer::Sight { received: bits.sum(), delivered, acknowledged }
            }
            (404, _, _) if words.error() == "not_found" => Answer::Gone,
            _ => wrong(reply),
        }
    };
    caller.ask(family, &thing.key, Wish::View, request, read).await
}

async fn ack(caller: &mut Caller, thing: &Thing) -> Outcome {
    let body = format!(r#"{{"action":"ack","pin":"{}","passwordHash":"{HASH}"}}"#, thing.key);
    let request = relay::keyed(caller, body);
    caller.ask(FAMILY, &thing.key, Wish::Ack, request, ok).await
}

async fn said(caller: &mut Caller, thing: &Thing) -> Outcome {
    let body = format!(r#"{{"action":"ack-status","pin":"{}","passwordHash":"{HASH}"}}"#, thing.key);
    let read = |reply: &Reply| match relay::words(reply) {
        (200, Words { acknowledged: Some(said), .. }) => Answer::Flag(said),
        _ => wrong(reply),
    };
    caller.ask(FAMILY, &thing.key, Wish::AckStatus, relay::plain(body), read).await
}

async fn finish(caller: &mut Caller, thing: &Thing) -> Outcome {
    let request = Request::post(path_of(&format!("{TRANSFERS}/{}/ack", thing.data.id)), "");
    caller.ask(FAMILY, &thing.key, Wish::Finish, request, ok).await
}

fn ok(reply: &Reply) -> Answer {
    match relay::words(reply) {
        (200, words) if words.ok => Answer::Done,
        (404, words) if words.error() == "not_found" => Answer::Gone,
        _ => wrong(reply),
    }
}

fn path_of(path: &str) -> Uri {
    path.parse().expect("ids are checked before they become a path")
}
