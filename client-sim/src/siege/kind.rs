//! The kinds of floods, each a few [`Flow`]s. What it was that a server should withstand stands in its description.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use super::flow::{Flow, Reading, Speech};

macro_rules! kinds {
    ($($kind:ident $name:literal $slow:literal $about:literal;)*) => {
        /// A kind of flood.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs)]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// What it does.
            pub fn about(self) -> &'static str {
                match self { $(Self::$kind => $about),* }
            }

            /// Whether it is slow clients that it consists of. Those must be felt less.
            pub fn is_slow(self) -> bool {
                match self { $(Self::$kind => $slow),* }
            }
        }
    };
}

kinds! {
    Pipelined "pipelined" true "80 connections send pipelined requests of 32 bytes and read little of the answers";
    Trickle "trickle" true "200 connections ask for the page 100 times and read 16 bytes every 100 ms";
    SlowHeads "slow-heads" true "1,000 connections send a head, one byte a second";
    SlowBodies "slow-bodies" true "1,000 connections send a body, one byte a second";
    SlowAnswers "slow-answers" true "200 connections ask for 50 chunks each and read 1 KiB every 500 ms";
    SlowStreams "slow-streams" true "200 event streams are fed 8 KiB signals and read nothing";
    SlowRooms "slow-rooms" true "100 sockets in a room with 4 writers read nothing";
    Connections "connections" false "3,000 connections are opened and say nothing";
    Handshakes "handshakes" false "500 connections a second begin a TLS handshake and do not go on";
    Storage "storage" false "chunks of 48 KiB, each in a transfer of its own, as fast as one address may";
    Keys "keys" false "acknowledgements with an Idempotency-Key that never comes again";
    Publishes "publishes" false "60 sockets publish 32 KiB to rooms, 25 times a second";
    Waits "waits" false "2,000 long polls wait";
    Free "free" false "what costs nothing: 404, 401, OPTIONS, bad JSON, reports, readiness, 5,000 a second";
    Sockets "sockets" false "200 sockets a second are opened and closed";
    Bombs "bombs" false "gzip of 48 KB that means 50 MB";
}

impl Kind {
    /// Reads a name.
    ///
    /// # Errors
    /// If there is no such kind: a sentence that names all.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("no kind {name:?}; one of {}", names()))
    }

    /// Whether the nodes and the honest client speak TLS.
    pub fn wants_tls(self) -> bool {
        self == Self::Handshakes
    }

    /// Whether the flood needs a chunk that is stored.
    pub fn wants_chunk(self) -> bool {
        self == Self::SlowAnswers
    }

    /// What the attacker does. `run` makes its names another's than those of other runs; `chunk` is the path of a stored
    /// chunk.
    pub fn flows(self, run: u64, chunk: &str) -> Vec<Flow> {
        let slowly = |bytes, ms| Reading::Slowly { bytes, every: Duration::from_millis(ms) };
        match self {
            Self::Pipelined => vec![Flow {
                then: Some((always(get("/livez").repeat(64)), Duration::ZERO)),
                times: Some(20_000 / 64),
                ..flow(80, slowly(1024, 250))
            }],
            Self::Trickle => vec![saying(always(get("/").repeat(100)), 200, slowly(16, 100))],
            Self::SlowHeads => vec![Flow {
                then: Some((always(b"a".to_vec()), Duration::from_secs(1))),
                ..saying(always(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ".to_vec()), 1000, Reading::All)
            }],
            Self::SlowBodies => vec![Flow {
                then: Some((always(b" ".to_vec()), Duration::from_secs(1))),
                ..saying(always(head("POST", "/api/relay", 40_000, "")), 1000, Reading::All)
            }],
            Self::SlowAnswers => vec![saying(always(get(chunk).repeat(50)), 200, slowly(1024, 500))],
            Self::SlowStreams => vec![
                saying(
                    Arc::new(move |n: u64| {
                        Bytes::from(get(&format!("/api/v1/events?peerId=slow-{run}-{n}")))
                    }),
                    200,
                    Reading::Nothing,
                ),
                asking(8, Duration::from_millis(20), move |n| {
                    let to = format!("slow-{run}-{}", n % 200);
                    relay(&json!({
                        "action": "signal", "from": "x", "to": to, "type": "offer", "payload": "x".repeat(8192),
                    }))
                }),
            ],
            Self::SlowRooms => {
                let member = |connections, reading| Flow {
                    opening: vec![
                        now(always(upgrade())),
                        after(300, always(text(&json!({"op": "hello"})))),
                        after(50, always(text(&json!({"op": "join", "room": format!("slow-{run}")})))),
                    ],
                    ..flow(connections, reading)
                };
                let publish = text(&json!({"op": "publish", "data": "x".repeat(16_384)}));
                vec![
                    member(100, Reading::Nothing),
                    Flow {
                        then: Some((always(publish), Duration::from_millis(40))),
                        ..member(4, Reading::All)
                    },
                ]
            }
            Self::Connections => vec![flow(3000, Reading::All)],
            Self::Handshakes => vec![Flow {
                opens_per_s: 500.0,
                // A record of a handshake that never comes.
                ..saying(always(vec![0x16, 3, 1]), 4000, Reading::All)
            }],
            Self::Storage => vec![asking(8, Duration::from_millis(8), move |n| {
                let data = STANDARD.encode(n.to_be_bytes().repeat(36_864 / 8));
                let pin = format!("{run}-{n}");
                relay(&json!({
                    "action": "send", "pin": pin, "passwordHash": "h", "chunkIndex": 0, "totalChunks": 2,
                    "data": data,
                }))
            })],
            Self::Keys => vec![asking(16, Duration::from_millis(8), move |n| {
                let body = json!({"action": "ack", "pin": format!("{run}-{n}"), "passwordHash": "h"});
                posted("/api/relay", &body, &format!("Idempotency-Key: {run}-{n}\r\n"))
            })],
            Self::Publishes => {
                let publish = text(&json!({"op": "publish", "data": "x".repeat(32_000)}));
                vec![Flow {
                    opening: vec![
                        now(always(upgrade())),
                        after(300, always(text(&json!({"op": "hello"})))),
                        after(
                            50,
                            Arc::new(move |n: u64| {
                                Bytes::from(text(&json!({"op": "join", "room": format!("{run}-{n}")})))
                            }),
                        ),
                    ],
                    then: Some((always(publish), Duration::from_millis(40))),
                    ..flow(60, Reading::All)
                }]
            }
            Self::Waits => vec![Flow {
                then: Some((
                    Arc::new(move |n: u64| {
                        Bytes::from(relay(&json!({
                            "action": "receive", "pin": format!("{run}-{n}"), "passwordHash": "h", "waitMs": 25_000,
                        })))
                    }),
                    Duration::from_secs(25),
                )),
                ..flow(2000, Reading::All)
            }],
            Self::Free => {
                let nonsense = format!("{{\"action\":{}", "[".repeat(16_000));
                let kinds = [
                    get("/api/v1/nothing"),
                    raw("GET", "/api/v1/ice", "", "Authorization: Bearer nonsense\r\n"),
                    raw("OPTIONS", "/api/relay", "", "Origin: https://a.example\r\n"),
                    raw("POST", "/api/relay", &nonsense, "Content-Type: application/json\r\n"),
                    raw("POST", "/api/v1/csp-reports", "{}", "Content-Type: application/csp-report\r\n"),
                    get("/readyz"),
                ];
                let kinds = kinds.map(Bytes::from);
                let of = move |n: u64| kinds[n as usize % kinds.len()].clone();
                vec![Flow {
                    then: Some((Arc::new(of), Duration::from_micros(6400))),
                    ..flow(32, Reading::All)
                }]
            }
            Self::Sockets => vec![Flow {
                opens_per_s: 200.0,
                opening: vec![now(always(upgrade())), after(100, always(text(&json!({"op": "hello"}))))],
                lasts: Some(Duration::from_millis(300)),
                ..flow(100, Reading::All)
            }],
            Self::Bombs => {
                let bomb = bomb();
                let mut request = head("POST", "/api/relay", bomb.len(), "Content-Encoding: gzip\r\n");
                request.extend_from_slice(&bomb);
                vec![Flow {
                    then: Some((always(request), Duration::from_millis(80))),
                    ..flow(8, Reading::All)
                }]
            }
        }
    }
}

/// So many connections that say nothing yet.
fn flow(connections: usize, reading: Reading) -> Flow {
    Flow {
        connections,
        opens_per_s: 1000.0,
        opening: Vec::new(),
        then: None,
        times: None,
        reading,
        lasts: None,
    }
}

fn saying(speech: Speech, connections: usize, reading: Reading) -> Flow {
    Flow { opening: vec![now(speech)], ..flow(connections, reading) }
}

/// Requests at a fixed rate on each connection, whether or not the last one was answered.
fn asking(
    connections: usize,
    every: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Flow {
    Flow {
        then: Some((Arc::new(move |n: u64| Bytes::from(request(n))), every)),
        ..flow(connections, Reading::All)
    }
}

fn always(bytes: Vec<u8>) -> Speech {
    let bytes = Bytes::from(bytes);
    Arc::new(move |_| bytes.clone())
}

fn now(speech: Speech) -> (Duration, Speech) {
    (Duration::ZERO, speech)
}

fn after(ms: u64, speech: Speech) -> (Duration, Speech) {
    (Duration::from_millis(ms), speech)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

fn head(method: &str, path: &str, length: usize, more: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}");
    if !more.contains("Content-Type") {
        head.push_str("Content-Type: application/json\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn raw(method: &str, path: &str, body: &str, more: &str) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{more}");
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    request.into_bytes()
}

fn posted(path: &str, body: &Value, more: &str) -> Vec<u8> {
    let body = body.to_string();
    let mut request = head("POST", path, body.len(), more);
    request.extend_from_slice(body.as_bytes());
    request
}

fn relay(body: &Value) -> Vec<u8> {
    posted("/api/relay", body, "")
}

fn upgrade() -> Vec<u8> {
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    raw("GET", "/api/v1/socket", "", more)
}

/// A masked text frame (RFC 6455, section 5.2). The mask is zero, which a server cannot tell from any other.
fn text(message: &Value) -> Vec<u8> {
    let payload = message.to_string();
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            let len = u16::try_from(len).expect("no message here is longer than 64 KiB");
            frame.extend_from_slice(&len.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload.as_bytes());
    frame
}

/// 50 MB of blanks in a JSON string, compressed.
fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let blanks = vec![b' '; 1 << 20];
    let parts = std::iter::once(&b"{\"action\":\""[..])
        .chain(std::iter::repeat_n(&blanks[..], 48))
        .chain(std::iter::once(&b"\"}"[..]));
    for part in parts {
        encoder.write_all(part).expect("writing to memory does not fail");
    }
    encoder.finish().expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_bounded() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Ok(*kind));
            let flows = kind.flows(1, "/chunk");
            let connections: usize = flows.iter().map(|flow| flow.connections).sum();
            assert!((1..=4000).contains(&connections), "{}: {connections}", kind.name());
            assert!(flows.iter().all(|flow| flow.opens_per_s <= 1000.0));
        }
        assert!(Kind::parse("nothing").unwrap_err().contains("slow-heads"));
    }

    #[test]
    fn a_bomb_is_small() {
        assert!(bomb().len() < 64 << 10, "{}", bomb().len());
    }

    #[test]
    fn a_frame_tells_its_length() {
        assert_eq!(text(&json!(1)), [0x81, 0x81, 0, 0, 0, 0, b'1']);
        let long = text(&json!("x".repeat(300)));
        assert_eq!(&long[..4], [0x81, 0xfe, 1, 46]);
    }
}
