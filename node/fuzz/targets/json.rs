//! Text messages: what is read as one is a JSON object that names an op.
#![no_main]

use bytestring::ByteString;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    if conclave_node::socket::read_text(&ByteString::from(text)).is_ok() {
        let value: Value = serde_json::from_str(text).expect("what is read as a message is JSON");
        assert!(value["op"].is_string());
    }
});
