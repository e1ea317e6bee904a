//! The peer port, as one speaks to it who is no member: whatever frames come, nothing is carried out or told, and the
//! node's term stays as it was.
#![no_main]

#[path = "common/mod.rs"]
mod common;
#[path = "../../../tests/src/frames.rs"]
mod frames;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Arbitrary;
use common::Node;
use frames::{Claim, frame, hello};
use libfuzzer_sys::fuzz_target;

/// After so many inputs the node is asked whether anything has changed.
const EVERY: u64 = 500;

static NODE: LazyLock<Node> = LazyLock::new(|| Node::start("peer", &[("cluster.name", "fuzz")]));
static BEFORE: LazyLock<String> = LazyLock::new(|| standing(&NODE));
static INPUTS: AtomicU64 = AtomicU64::new(0);

/// What one stranger says.
#[derive(Debug, Arbitrary)]
enum Said {
    /// Bytes.
    Raw(Vec<u8>),
    /// A greeting in the cluster's name, and frames.
    Greeted { from: u64, frames: Vec<Frame> },
}

#[derive(Debug, Arbitrary)]
struct Frame {
    role: u8,
    kind: u8,
    header: Vec<u8>,
    payload: Vec<u8>,
}

fuzz_target!(|said: Said| {
    LazyLock::force(&BEFORE);
    let (greeting, rest) = match &said {
        Said::Raw(bytes) => (Vec::new(), bytes.clone()),
        Said::Greeted { from, frames } => {
            // Node 1 is the one that is spoken to, and nobody else belongs.
            let from = (*from).max(2);
            let claim = Claim { cluster: "fuzz".to_owned(), from, to: 1, proves: false, disk: from.into() };
            let greeting = [frame(0, 0, &hello(&claim), &[]), frame(7, 0, &claim.disk.to_be_bytes(), &[])].concat();
            let frames = frames.iter().map(|one| frame(one.role % 9, one.kind, &one.header, &one.payload));
            (greeting, frames.collect::<Vec<_>>().concat())
        }
    };
    let mut came = &common::converse(NODE.peer, [&greeting, &rest])[..];
    while let Some((head, body)) = came.split_at_checked(8) {
        let length = u32::from_be_bytes(*head.first_chunk().expect("there are eight bytes")) as usize;
        let Some((body, next)) = body.split_at_checked(length) else { break };
        let (kind, role) = (body[0], body[1]);
        // A greeting, a refusal, a sign of life; of answers only that there is none, and whether an id is free.
        let fits = match role {
            3 => matches!(kind, 255 | 9),
            role => matches!(role, 0 | 1 | 4..=7),
        };
        assert!(fits, "role {role}, kind {kind} for {said:?}");
        came = next;
    }
    if INPUTS.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1 {
        assert_eq!(standing(&NODE), *BEFORE, "a stranger has changed something");
    }
});

/// The node's term, leader and members.
fn standing(node: &Node) -> String {
    let answer = common::ask(node.admin, "/cluster/status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("the admin port answers");
    let status: serde_json::Value = serde_json::from_str(body).expect("it answers with JSON");
    let ids: Vec<_> = status["nodes"].as_array().into_iter().flatten().map(|node| &node["id"]).collect();
    format!("{} {} {ids:?}", status["term"], status["leader"])
}
