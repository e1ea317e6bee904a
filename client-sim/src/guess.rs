//! How many guesses at a code or a pin one client gets in one window, measured at nodes of its own.
//!
//! The client does what gets it the most: it opens connections to all nodes, sends each request but for its last byte, and
//! then all last bytes at once. Where a window admits far more requests than connections, it asks on and on until it is
//! refused. Every way has an address of its own, and so a window of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hyper::Uri;
use serde::Serialize;
use serde_json::{Value, json};
use strum::VariantArray;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{Connection, Fault, Raw, Request, Stream, Target};
use crate::report::table::Grid;

/// Connections that are opened at once.
const DIALS: usize = 64;
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections of a way that asks on and on.
const ASKERS: usize = 96;
/// Who holds what is guessed.
const HOLDER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// A way to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, VariantArray)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// `lookup` of an invite code.
    Lookup,
    /// `register` of a code that somebody holds.
    Register,
    /// Resolving the pin of a session.
    Resolve,
    /// A session under a pin that somebody holds.
    Create,
    /// `receive` under a pin and a hash.
    Receive,
    /// `send` to a transfer that somebody began.
    Send,
}

/// What one way came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    /// The way.
    pub way: Way,
    /// Answers that told whether the guess was right.
    pub guesses: u64,
    /// What it may be at most.
    pub most: u64,
    /// Refused with 429.
    pub refused: u64,
    /// Anything else.
    pub other: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
}

/// What is held, for the guesses that are right.
#[derive(Debug, Clone)]
struct Held {
    run: u64,
    code: String,
    pin: String,
}

impl Way {
    /// Where it comes from.
    fn source(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 2, 1 + self as u8)
    }

    /// The documented bound on guesses in a window, with default limits (docs/security.md).
    fn most(self, nodes: u64) -> u64 {
        match self {
            Self::Lookup | Self::Resolve => 600 + 4 * nodes,
            Self::Register | Self::Create => (1200 + 16 * nodes) / 5,
            Self::Receive => 120_000 + 15_000 * nodes,
            // Those under way are not bounded by turns, and cost four less until they are charged.
            Self::Send => (120_000 + 4 * ASKERS as u64) / 5,
        }
    }

    /// Whether a window admits more than can be held back.
    fn goes_on(self) -> bool {
        matches!(self, Self::Receive | Self::Send)
    }

    fn request(self, held: &Held, number: u64) -> Bytes {
        let (run, code, pin) = (held.run, &held.code, &held.pin);
        let relay = |body: Value| request("POST", "/api/relay", &body.to_string());
        match self {
            Self::Lookup => {
                relay(json!({"action": "lookup", "inviteCode": format!("{:016x}", run ^ (number << 20))}))
            }
            Self::Register => relay(json!({"action": "register", "inviteCode": code, "peerId": "another"})),
            Self::Resolve => request("GET", &format!("/api/v1/sessions/resolve?pin={run:x}-{number}"), ""),
            Self::Create => request("POST", "/api/v1/sessions", &json!({"pin": pin}).to_string()),
            Self::Receive => {
                relay(json!({"action": "receive", "pin": format!("{run:x}-{number}"), "passwordHash": "h"}))
            }
            Self::Send => relay(json!({
                "action": "send", "pin": pin, "passwordHash": "h", "chunkIndex": 0, "totalChunks": 9, "data": "AAEC",
            })),
        }
    }

    /// Whether an answer told something.
    fn told(self, status: u16, body: &[u8]) -> bool {
        match self {
            Self::Lookup | Self::Resolve => status == 404,
            Self::Register => status == 400,
            Self::Create => status == 409,
            Self::Receive => status == 200,
            // The original's error, which it sends with 200.
            Self::Send => status != 429 && body.windows(8).any(|piece| piece == b"mismatch"),
        }
    }
}

/// Measures all ways at these nodes, each with so many requests held back.
pub async fn measure(nodes: &[Target], held_back: usize, time: Duration) -> Result<Vec<Measured>, Fault> {
    let run: u64 = rand::random();
    let held = Held { run, code: format!("{run:016x}"), pin: format!("pin-{run:x}") };
    let mut all = Vec::new();
    for &way in Way::VARIANTS {
        // What is guessed lives shorter than a measurement.
        hold(&nodes[0], &held).await?;
        let began = Instant::now();
        let counts = match way.goes_on() {
            true => ask_on(way, &held, nodes, time).await,
            false => ask_at_once(way, &held, nodes, held_back).await,
        };
        let [guesses, refused, other] = counts;
        let (most, seconds) = (way.most(nodes.len() as u64), began.elapsed().as_secs_f64());
        all.push(Measured { way, guesses, most, refused, other, seconds });
    }
    Ok(all)
}

/// Registers the code, opens a session under the pin and begins a transfer, as somebody else.
async fn hold(node: &Target, held: &Held) -> Result<(), Fault> {
    let mut connection = Connection::open(&node.clone().seen_from(HOLDER.into())).await?;
    for (path, body) in [
        ("/api/relay", json!({"action": "register", "inviteCode": held.code, "peerId": "holder"})),
        ("/api/v1/sessions", json!({"pin": held.pin})),
        (
            "/api/relay",
            json!({
                "action": "send", "pin": held.pin, "passwordHash": "h", "chunkIndex": 0, "totalChunks": 2,
                "data": "AAEC",
            }),
        ),
    ] {
        connection.exchange(&Request::post(Uri::from_static(path), body.to_string())).await?;
    }
    Ok(())
}

async fn ask_at_once(way: Way, held: &Held, nodes: &[Target], held_back: usize) -> [u64; 3] {
    let begin = |number: usize| {
        let request = way.request(held, number as u64);
        let node = &nodes[number % nodes.len()];
        async move {
            let mut asked = dial(node, way).await?;
            asked.send(&request[..request.len() - 1]).await?;
            std::io::Result::Ok((asked, request))
        }
    };
    let begun: Vec<_> = stream::iter((0..held_back).map(begin)).buffer_unordered(DIALS).collect().await;
    let mut tasks = JoinSet::new();
    let mut counts = [0; 3];
    for begun in begun {
        match begun {
            Ok((mut asked, request)) => {
                _ = tasks.spawn(async move {
                    asked.send(&request[request.len() - 1..]).await.ok()?;
                    answer(&mut asked).await
                })
            }
            Err(_) => counts[2] += 1,
        }
    }
    while let Some(answer) = tasks.join_next().await {
        counts[which(way, answer.ok().flatten())] += 1;
    }
    counts
}

async fn ask_on(way: Way, held: &Held, nodes: &[Target], time: Duration) -> [u64; 3] {
    let until = Instant::now() + time;
    let numbers = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for asker in 0..ASKERS {
        let (node, held, numbers) = (nodes[asker % nodes.len()].clone(), held.clone(), numbers.clone());
        tasks.spawn(async move {
            let mut counts = [0_u64; 3];
            let Ok(mut asked) = dial(&node, way).await else { return counts };
            while Instant::now() < until {
                let request = way.request(&held, numbers.fetch_add(1, Ordering::Relaxed));
                let answer = match asked.send(request).await {
                    Ok(()) => answer(&mut asked).await,
                    Err(_) => None,
                };
                let which = which(way, answer);
                counts[which] += 1;
                if which != 0 {
                    break;
                }
            }
            counts
        });
    }
    let mut counts = [0; 3];
    while let Some(Ok(some)) = tasks.join_next().await {
        counts.iter_mut().zip(some).for_each(|(all, more)| *all += more);
    }
    counts
}

fn which(way: Way, answer: Option<(u16, Vec<u8>)>) -> usize {
    match answer {
        Some((status, body)) if way.told(status, &body) => 0,
        Some((429, _)) => 1,
        _ => 2,
    }
}

async fn dial(node: &Target, way: Way) -> std::io::Result<Raw<Stream>> {
    let target = node.clone().seen_from(way.source().into());
    Ok(Raw::over(timeout(PATIENCE, Stream::open(&target)).await??))
}

/// The status of an answer, and its body.
async fn answer(asked: &mut Raw<Stream>) -> Option<(u16, Vec<u8>)> {
    let reply = timeout(PATIENCE, asked.reply(true)).await.ok()?.ok()?;
    Some((reply.status, reply.body.to_vec()))
}

fn request(method: &str, path: &str, body: &str) -> Bytes {
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\n\r\n{body}").into()
}

/// What was measured, and the chances that follow from it.
pub fn table(measured: &[Measured]) -> String {
    let mut grid = Grid::new("way | guesses | at most | 429 | other | seconds");
    for one in measured {
        grid.rows.push(vec![
            format!("{:?}", one.way).to_lowercase(),
            one.guesses.to_string(),
            one.most.to_string(),
            one.refused.to_string(),
            one.other.to_string(),
            format!("{:.1}", one.seconds),
        ]);
    }
    let of = |ways: &[Way]| -> f64 {
        let all = measured.iter().filter(|one| ways.contains(&one.way));
        all.map(|one| one.guesses as f64).sum()
    };
    let codes = of(&[Way::Lookup, Way::Register]);
    let pins = of(&[Way::Resolve, Way::Create]);
    let pairs = of(&[Way::Receive, Way::Send]);
    let mut chances = Grid::new("secret | life | 1 address | 100 | 1,000");
    for (secret, values, life_s, guesses) in [
        ("invite code, 8 of 62", 62_f64.powi(8), 30, codes),
        ("invite code, 8 of 62", 62_f64.powi(8), 3600, codes),
        ("the page's, 12 of 32", 32_f64.powi(12), 3600, codes),
        ("one of 1,000 pages'", 32_f64.powi(12) / 1e3, 3600, codes),
        ("session pin, 4 digits", 1e4, 180, pins),
        ("session pin, 6 digits", 1e6, 180, pins),
        ("session pin, 7 of 62", 62_f64.powi(7), 180, pins),
        ("transfer, 4 digits", 1e4, 60, pairs),
        ("transfer, 6 digits", 1e6, 60, pairs),
        ("transfer, 128 bits", 2_f64.powi(128), 60, pairs),
    ] {
        let windows = f64::from(u32::div_ceil(life_s, 60) + 1);
        let chance = |addresses: f64| format!("{:.1e}", (addresses * windows * guesses / values).min(1.0));
        let mut row = vec![secret.to_owned(), format!("{life_s} s")];
        row.extend([1.0, 100.0, 1e3].map(chance));
        chances.rows.push(row);
    }
    format!("{}{}", grid.text(), chances.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_asks_and_understands_the_answer() {
        let held = Held { run: 7, code: "code".to_owned(), pin: "pin".to_owned() };
        for &way in Way::VARIANTS {
            let request = way.request(&held, 1);
            assert!(request.ends_with(b"}") || request.ends_with(b"\r\n\r\n"), "{way:?}");
            assert!(!way.told(429, b"mismatch"), "{way:?}");
        }
        assert!(Way::Send.told(200, br#"{"error":"totalChunks_mismatch"}"#));
    }

    #[test]
    fn the_table_tells_chances() {
        let one = |way, guesses| Measured { way, guesses, most: 1, refused: 0, other: 0, seconds: 1.0 };
        let text = table(&[one(Way::Lookup, 612), one(Way::Register, 249), one(Way::Resolve, 2500)]);
        assert!(text.contains("7.9e-9"), "{text}");
        assert!(text.contains("1.0e0"), "four digits are found: {text}");
    }
}
