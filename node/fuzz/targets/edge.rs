//! The public port: whatever bytes come in, a slow reader of HTTP and the server find the same requests in them, and
//! nobody is let in without a credential.
#![no_main]

#[path = "common/mod.rs"]
mod common;
#[path = "common/reference.rs"]
mod reference;

use std::sync::LazyLock;

use common::Node;
use libfuzzer_sys::fuzz_target;
use reference::{Due, End};

/// A credential is required, and there is none that would do.
static NODE: LazyLock<Node> = LazyLock::new(|| {
    let key = std::env::temp_dir().join(format!("conclave-fuzz-{}.key", std::process::id()));
    std::fs::write(&key, [b'k'; 32]).expect("temporary files can be written");
    let keys = format!("[\"HS256:{}\"]", key.display());
    let node = Node::start("edge", &[("auth.required", "true"), ("auth.keys", &keys)]);
    std::fs::remove_file(&key).expect("it was written");
    node
});

/// What was answered.
struct Answer {
    status: u16,
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let cut = bytes.len() * usize::from(*cut) / 256;
    let (due, end) = reference::read(bytes);
    let came = common::converse(NODE.public, [&bytes[..cut], &bytes[cut..]]);
    let told = || format!("{:?}\nis due {due:?}, {end:?}\nand got {:?}", show(bytes), show(&came));
    let answers = parse(&came, bytes).unwrap_or_else(|| panic!("no answers:\n{}", told()));

    let (least, most) = match end {
        End::Clean | End::InHead => (due.len(), due.len()),
        // The end of the body may be the end of its request, too.
        End::InBody => (due.len() - 1, due.len()),
        End::Refused => (due.len() + 1, due.len() + 1),
        End::Beyond => (due.len(), usize::MAX),
    };
    assert!((least..=most).contains(&answers.len()), "{} answers:\n{}", answers.len(), told());
    for (at, answer) in answers.iter().enumerate() {
        let fits = match due.get(at) {
            // A body that does not end well is the answer's business.
            Some(_) if end == End::InBody && at + 1 == due.len() && answer.status == 400 => true,
            Some(Due::Credential) => answer.status == 401,
            Some(Due::OtherMethod) => answer.status == 405,
            Some(Due::Nowhere) => answer.status == 404,
            Some(Due::NoPath) => answer.status == 400,
            Some(Due::Options) => answer.status == 204,
            Some(Due::Open) => !matches!(answer.status, 401 | 404 | 405) && answer.status < 500,
            None if end == End::Refused => answer.status == 400,
            None => answer.status < 500 || answer.status == 503,
        };
        assert!(fits, "answer {at} is {}:\n{}", answer.status, told());
    }
});

/// The answers one behind the other. A `HEAD` among the requests makes it unclear which of them have bodies: then only
/// their first lines are looked for.
fn parse(mut rest: &[u8], asked: &[u8]) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    let has_head = asked.windows(5).any(|piece| piece == b"HEAD ");
    while !rest.is_empty() {
        let end = find(rest, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&rest[..end]).ok()?.to_ascii_lowercase();
        rest = &rest[end + 4..];
        let status = head.strip_prefix("http/1.")?.get(2..5)?.parse().ok()?;
        if has_head {
            // No body of ours has this in it.
            rest = &rest[find(rest, b"HTTP/1.").unwrap_or(rest.len())..];
        } else if head.contains("\r\ntransfer-encoding: chunked") {
            rest = &rest[find(rest, b"0\r\n\r\n")? + 5..];
        } else if let Some(length) = head.split("\r\ncontent-length: ").nth(1) {
            let length: usize = length.split("\r\n").next()?.parse().ok()?;
            rest = rest.get(length..)?;
        }
        if status != 100 {
            answers.push(Answer { status });
        }
    }
    Some(answers)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|piece| piece == what)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned()
}
