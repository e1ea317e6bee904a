//! The words of `/api/relay`, and names that no other test uses.

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::http::Api;
use crate::leaks::secret;

/// A pin and a password hash: what names a transfer.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The short secret both sides know.
    pub pin: String,
    /// The hash both sides derive.
    pub password_hash: String,
}

impl Pair {
    /// A pair nobody else has.
    pub fn fresh() -> Self {
        Self { pin: secret(word("pin")), password_hash: secret(word("hash")) }
    }

    /// The body of a `send`.
    pub fn send(&self, index: u32, total: u32, data: &str) -> Value {
        json!({
            "action": "send", "pin": self.pin, "passwordHash": self.password_hash,
            "chunkIndex": index, "totalChunks": total, "data": data,
        })
    }

    /// The body of a `receive`.
    pub fn receive(&self) -> Value {
        self.action("receive")
    }

    /// The body of an `ack`.
    pub fn ack(&self) -> Value {
        self.action("ack")
    }

    /// The body of an `ack-status`.
    pub fn ack_status(&self) -> Value {
        self.action("ack-status")
    }

    /// The body that begins a resumable transfer.
    pub fn open(&self, total: u32) -> Value {
        json!({"pin": self.pin, "passwordHash": self.password_hash, "totalChunks": total})
    }

    fn action(&self, action: &str) -> Value {
        json!({"action": action, "pin": self.pin, "passwordHash": self.password_hash})
    }
}

/// An invite code nobody else has.
pub fn invite_code() -> String {
    Uuid::new_v4().simple().to_string().split_off(24)
}

/// A peer id nobody else has.
pub fn peer_id() -> String {
    word("peer")
}

/// The body of a `register`.
pub fn register(code: &str, peer: &str) -> Value {
    json!({"action": "register", "inviteCode": code, "peerId": peer})
}

/// The body of a `lookup`.
pub fn lookup(code: &str) -> Value {
    json!({"action": "lookup", "inviteCode": code})
}

/// The body of a `signal`.
pub fn signal(from: &str, to: &str, kind: &str, payload: Value) -> Value {
    json!({"action": "signal", "from": from, "to": to, "type": kind, "payload": payload})
}

/// The body of a `poll`.
pub fn poll(peer: &str) -> Value {
    json!({"action": "poll", "peerId": peer})
}

/// A word nobody else has.
pub fn word(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4().simple())
}

/// `body` with one field set, or taken away where `value` is `None`.
pub fn with(body: &Value, field: &str, value: Option<Value>) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().expect("requests are objects");
    match value {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
    body
}

/// Writes and reads at a node again and again until it is told to stop, without ever trying twice; says how often.
pub fn ticker(api: Api) -> (watch::Sender<bool>, JoinHandle<u32>) {
    let (stop, stopped) = watch::channel(false);
    let asked = tokio::spawn(async move {
        let mut asked = 0;
        while !*stopped.borrow() {
            let pair = Pair::fresh();
            api.relay(&pair.send(0, 1, "AAEC")).once().await.ok();
            assert_eq!(api.relay(&pair.ack_status()).once().await.ok()["acknowledged"], false);
            assert_eq!(api.relay(&pair.receive()).once().await.ok()["chunk"]["data"], "AAEC");
            asked += 1;
        }
        asked
    });
    (stop, asked)
}
