//! Text messages: what is read as one is a JSON object that names an op.
#![no_main]

use bytestring::ByteString;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

/// Reads of a message only its op. The rest is passed over, since a general reader of values refuses two things that JSON
/// has nothing against: numbers larger than any float, and more than 128 levels.
#[derive(Deserialize)]
struct Named {
    op: String,
}

fuzz_target!(|text: &str| {
    if conclave_node::transport::ws::read_text(&ByteString::from(text)).is_ok() {
        assert!(text.trim_start().starts_with('{'), "an array would be taken for the fields in their order");
        let Named { op } =
            serde_json::from_str(text).expect("what is read as a message is JSON and names an op");
        assert!(!op.is_empty());
    }
});
