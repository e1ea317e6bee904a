//! What a server that keeps the contract knows, because it does one thing at a time, and where it slips.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_client_sim::sample::is_dead;
use serde_json::{Value, json};

use super::stand_in::{Manner, State};

#[derive(Default, Clone)]
pub(crate) struct Tables {
    sessions: HashMap<String, HashMap<String, Value>>,
    pins: HashMap<String, String>,
    codes: HashMap<String, Value>,
    mailboxes: HashMap<String, Vec<Value>>,
    transfers: HashMap<String, Transfer>,
    said: HashMap<String, bool>,
    pub(crate) memos: HashMap<String, Answer>,
}

#[derive(Default, Clone)]
struct Transfer {
    total: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
    delivered: BTreeSet<u64>,
    acknowledged: bool,
}

/// A status and a body.
pub(crate) type Answer = (u16, Vec<u8>);

/// One request.
pub(crate) struct Asked<'a> {
    pub(crate) node: usize,
    pub(crate) method: &'a str,
    /// The path's segments.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    /// The body as JSON, where it is.
    pub(crate) said: Value,
}

impl Asked<'_> {
    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn word(&self, name: &str) -> String {
        self.said[name].as_str().unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> u64 {
        self.said[name].as_u64().unwrap()
    }
}

pub(crate) fn say(status: u16, value: &Value) -> Answer {
    (status, value.to_string().into_bytes())
}

pub(crate) fn refuse(status: u16, code: &str) -> Answer {
    say(status, &json!({"error": code, "message": "No.", "requestId": "1"}))
}

impl Tables {
    pub(crate) fn answer(&mut self, state: &State, asked: &Asked<'_>) -> Answer {
        match (asked.method, asked.path) {
            ("POST", ["api", "relay"]) => self.relay(state, asked),
            ("POST", ["api", "v1", "sessions"]) => self.create(state, asked.said["pin"].as_str()),
            ("GET", ["api", "v1", "sessions", "resolve"]) => {
                let id = self.pins.get(asked.parameter("pin").unwrap());
                match id.filter(|id| self.sessions.contains_key(*id)) {
                    Some(id) => say(200, &json!({"sessionId": id})),
                    None => refuse(404, "pin_not_found"),
                }
            }
            (method, ["api", "v1", "sessions", id, rest @ ..]) => {
                self.session(state, method, id, rest, &asked.said)
            }
            ("POST", ["api", "v1", "transfers"]) => {
                let (id, total) = (asked.word("pin"), asked.number("totalChunks"));
                self.begin(&id).total = total;
                say(201, &json!({"transferId": id, "ttlSec": 60}))
            }
            (method, ["api", "v1", "transfers", id, rest @ ..]) => {
                self.transfer(state, method, id, rest, asked.body)
            }
            (_, ["cluster", "status"]) => say(200, &state.status.lock().unwrap()),
            (_, ["readyz"]) => say(200, &json!({})),
            (_, ["metrics"]) => {
                let sends = state.sends.load(Ordering::SeqCst);
                (200, format!("fsyncs_total{{node=\"1\"}} {sends}\n").into_bytes())
            }
            _ => refuse(404, "not_found"),
        }
    }

    /// The transfer of that name, which may be a new one.
    fn begin(&mut self, id: &str) -> &mut Transfer {
        if !self.transfers.contains_key(id) {
            self.said.remove(id);
        }
        self.transfers.entry(id.to_owned()).or_default()
    }

    fn create(&mut self, state: &State, pin: Option<&str>) -> Answer {
        let id = uuid::Uuid::new_v4().to_string();
        if let Some(pin) = pin {
            let live = self.pins.get(pin).is_some_and(|id| self.sessions.contains_key(id));
            if live && !state.slips(Manner::GivesPinsTwice) {
                return refuse(409, "pin_in_use");
            }
            self.pins.insert(pin.to_owned(), id.clone());
        }
        self.sessions.insert(id.clone(), HashMap::new());
        say(200, &json!({"sessionId": id, "ttlSec": 180}))
    }

    fn session(&mut self, state: &State, method: &str, id: &str, rest: &[&str], said: &Value) -> Answer {
        let Some(session) = self.sessions.get_mut(id) else { return refuse(410, "session_expired") };
        match (method, rest) {
            ("POST", [part]) => {
                if !state.slips(Manner::DropsEnvelopes) {
                    session.insert((*part).to_owned(), said.clone());
                }
                say(200, &json!({"status": "ok", "ttlSec": 180}))
            }
            ("GET", [part]) => match session.get(*part) {
                Some(envelope) => {
                    let mut envelope = envelope.clone();
                    if state.slips(Manner::CorruptsEnvelopes) {
                        envelope["ct"] = envelope["ct"].as_str().unwrap().replacen('0', "1", 1).into();
                    }
                    say(200, &json!({"envelope": envelope}))
                }
                None => refuse(404, "not_found"),
            },
            _ => {
                self.sessions.remove(id);
                say(200, &json!({"status": "deleted"}))
            }
        }
    }

    fn relay(&mut self, state: &State, asked: &Asked<'_>) -> Answer {
        let word = |name: &str| asked.word(name);
        match word("action").as_str() {
            "register" => {
                let holder = self.codes.get(&word("inviteCode"));
                let taken = holder.is_some_and(|holder| *holder != asked.said["peerId"]);
                if taken && !state.slips(Manner::GivesCodesTwice) {
                    return refuse(400, "invite_code_in_use");
                }
                self.codes.insert(word("inviteCode"), asked.said["peerId"].clone());
                say(200, &json!({"status": "registered", "ttlSec": 30}))
            }
            "lookup" => match self.codes.get(&word("inviteCode")) {
                Some(peer) => say(200, &json!({"peerId": peer})),
                None => refuse(404, "peer_not_found"),
            },
            "signal" => {
                if !state.slips(Manner::DropsSignals) {
                    self.mailboxes.entry(word("to")).or_default().push(asked.said.clone());
                }
                say(200, &json!({"status": "queued"}))
            }
            "poll" => {
                let mut messages = self.mailboxes.remove(&word("peerId")).unwrap_or_default();
                if state.slips(Manner::ReordersSignals) {
                    messages.reverse();
                }
                if state.manner == Manner::CorruptsSignals {
                    messages.iter_mut().for_each(|message| message["payload"] = "another".into());
                }
                say(200, &json!({"messages": messages}))
            }
            "send" => self.send(state, asked),
            "receive" => self.receive(state, &word("pin")),
            "ack" => {
                self.said.insert(word("pin"), true);
                if let Some(transfer) = self.transfers.get_mut(&word("pin")) {
                    transfer.acknowledged = true;
                }
                say(200, &json!({"ok": true}))
            }
            "ack-status" => {
                say(200, &json!({"acknowledged": self.said.get(&word("pin")).is_some_and(|said| *said)}))
            }
            _ => refuse(404, "unknown_action"),
        }
    }

    fn send(&mut self, state: &State, asked: &Asked<'_>) -> Answer {
        state.sends.fetch_add(1, Ordering::SeqCst);
        if state.manner == Manner::Refuse {
            return refuse(429, "rate_limit_exceeded");
        }
        if state.leader.lock().unwrap().is_some_and(is_dead) {
            return refuse(503, "no_leader");
        }
        let transfer = self.begin(&asked.word("pin"));
        transfer.total = asked.number("totalChunks");
        let data = STANDARD.decode(asked.word("data")).unwrap();
        match transfer.put(state, asked.number("chunkIndex"), data) {
            Put::Stored => say(200, &json!({"status": "waiting"})),
            Put::Same => say(200, &json!({"status": "waiting", "duplicate": true})),
            Put::Other | Put::Delivered => {
                say(200, &json!({"status": "waiting", "error": "duplicate_chunk"}))
            }
        }
    }

    fn receive(&mut self, state: &State, pin: &str) -> Answer {
        let Some(transfer) = self.transfers.get_mut(pin) else {
            return say(200, &json!({"status": "expired"}));
        };
        let mut waiting = transfer.chunks.keys().filter(|index| !transfer.delivered.contains(index));
        let next =
            if state.manner == Manner::TakesHighestFirst { waiting.next_back() } else { waiting.next() };
        if let Some(index) = next.copied() {
            let mut bytes = transfer.chunks[&index].clone();
            if state.slips_once(Manner::CorruptOneByte) {
                bytes[0] ^= 1;
            }
            let data = STANDARD.encode(bytes);
            if !state.slips(Manner::GivesChunksTwice) {
                transfer.delivered.insert(index);
            }
            let chunk = json!({"chunkIndex": index, "totalChunks": transfer.total, "data": data});
            return say(200, &json!({"status": "chunkAvailable", "chunk": chunk}));
        }
        if (transfer.delivered.len() as u64) < transfer.total {
            return say(200, &json!({"status": "waiting"}));
        }
        if transfer.acknowledged {
            self.transfers.remove(pin);
        }
        say(200, &json!({"status": "done"}))
    }

    fn transfer(&mut self, state: &State, method: &str, id: &str, rest: &[&str], body: &[u8]) -> Answer {
        let Some(transfer) = self.transfers.get_mut(id) else { return refuse(404, "not_found") };
        match (method, rest) {
            ("PUT", ["chunks", index]) => match transfer.put(state, index.parse().unwrap(), body.to_vec()) {
                Put::Stored => say(201, &json!({"status": "stored"})),
                Put::Same => say(200, &json!({"status": "stored", "duplicate": true})),
                Put::Other | Put::Delivered => refuse(409, "chunk_conflict"),
            },
            ("GET", ["chunks", index]) => match transfer.chunks.get(&index.parse().unwrap()) {
                Some(bytes) => (200, bytes.clone()),
                None => refuse(404, "not_found"),
            },
            ("GET", []) => {
                let received: Vec<_> = transfer.chunks.keys().map(|index| [index, index]).collect();
                let (delivered, acknowledged) = (transfer.delivered.len(), transfer.acknowledged);
                say(
                    200,
                    &json!({"totalChunks": transfer.total, "received": received, "delivered": delivered,
                            "acknowledged": acknowledged, "expiresAt": 1}),
                )
            }
            _ => {
                self.said.insert(id.to_owned(), true);
                transfer.acknowledged = true;
                if transfer.chunks.len() as u64 == transfer.total {
                    transfer.delivered = transfer.chunks.keys().copied().collect();
                }
                say(200, &json!({"ok": true}))
            }
        }
    }
}

impl Transfer {
    fn put(&mut self, state: &State, index: u64, data: Vec<u8>) -> Put {
        if self.delivered.contains(&index) {
            return Put::Delivered;
        }
        match self.chunks.get(&index) {
            Some(known) if *known == data => Put::Same,
            Some(_) => Put::Other,
            None => {
                if !state.slips(Manner::DropsChunks) {
                    self.chunks.insert(index, data);
                }
                Put::Stored
            }
        }
    }
}

/// What became of a chunk.
enum Put {
    Stored,
    Same,
    Other,
    Delivered,
}
