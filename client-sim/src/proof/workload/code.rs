//! Invite codes that several peers want at once.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use super::caller::Caller;
use super::keyspace::{Live, Span};
use super::relay;
use super::subject::Subject;
use super::words::wrong;
use crate::client::Reply;
use crate::content::mix;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};

/// Invite codes.
pub(super) struct Codes;

const FAMILY: Family = Family::Code;
/// Peers that want the same code.
const PEERS: u64 = 3;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Subject for Codes {
    const SLOTS: usize = 6;
    const SPAN: Span = Span { age: Duration::from_secs(8), asked: 60 };
    const KEPT: Duration = Duration::from_secs(6);
    type Data = ();

    async fn make(&self, caller: &mut Caller) -> Option<Live<()>> {
        let mut number = mix(caller.run() ^ mix(caller.fresh()));
        let code: String = (0..8)
            .map(|_| {
                let letter = LETTERS[(number % 62) as usize] as char;
                number /= 62;
                letter
            })
            .collect();
        Some(Live::new(code, ()))
    }

    async fn ask(&self, caller: &mut Caller, code: &Live<()>) -> Outcome {
        match caller.rng.random_range(0..3) {
            0 => register(caller, FAMILY, &code.key).await,
            _ => self.see(caller, code).await,
        }
    }

    async fn see(&self, caller: &mut Caller, code: &Live<()>) -> Outcome {
        lookup(caller, FAMILY, &code.key).await
    }
}

/// Lets one of the peers try to hold it.
pub(super) async fn register(caller: &mut Caller, family: Family, key: &Arc<str>) -> Outcome {
    let peer = caller.rng.random_range(0..PEERS);
    let body = format!(r#"{{"action":"register","inviteCode":"{key}","peerId":"peer-{peer}"}}"#);
    let request = relay::keyed(caller, body);
    let read = |reply: &Reply| match relay::words(reply) {
        (200, words) if words.status() == "registered" => Answer::Done,
        (400, words) if words.error() == "invite_code_in_use" => Answer::Taken,
        _ => wrong(reply),
    };
    caller.ask(family, key, Wish::Register { peer }, request, read).await
}

/// Asks who holds it.
pub(super) async fn lookup(caller: &mut Caller, family: Family, key: &Arc<str>) -> Outcome {
    let request = relay::plain(format!(r#"{{"action":"lookup","inviteCode":"{key}"}}"#));
    let read = |reply: &Reply| match relay::words(reply) {
        (200, words) => {
            let peer = words.peer_id.as_deref().and_then(|peer| peer.strip_prefix("peer-")?.parse().ok());
            peer.map_or_else(|| wrong(reply), Answer::Peer)
        }
        (404, words) if words.error() == "peer_not_found" => Answer::Nothing,
        _ => wrong(reply),
    };
    caller.ask(family, key, Wish::Lookup, request, read).await
}
