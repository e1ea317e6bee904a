//! Hundreds of thousands of damaged text messages: none panics, and what is read is what a general JSON parser finds in
//! the same text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;
use crate::service::signaling::kind_name;

const MESSAGES: u64 = 300_000;
const SEED: u64 = 0x0d4a_6a50;

/// SplitMix64, from a seed of the message's own, so that each is made again by its number alone.
fn chance(message: u64) -> impl FnMut(usize) -> usize {
    let mut state = SEED ^ message.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % below as u64) as usize
    }
}

/// Every op with fields that it may have.
fn well_formed() -> Vec<Value> {
    vec![
        json!({"id": 1, "op": "hello", "token": "t"}),
        json!({"id": "x", "op": "hello", "resume": {"session": "s", "room": "r", "peerId": "p", "epoch": 1, "offset": 2}}),
        json!({"op": "claim", "peerId": "peer", "inviteCode": "abcd1234"}),
        json!({"id": -1.5, "op": "lookup", "inviteCode": "abcd1234"}),
        json!({"op": "signal", "to": "peer", "type": "ice-candidate", "payload": {"a": [1, "\u{1F600}"]}}),
        json!({"op": "ack", "seq": 7}),
        json!({"op": "join", "room": "r", "epoch": 3, "offset": 9}),
        json!({"op": "leave", "room": "r"}),
        json!({"id": 2, "op": "publish", "room": "r", "data": {"x": 1e2}, "volatile": true, "messageId": 4}),
        json!({"op": "members", "room": "r"}),
        json!({"op": "watch", "transfer": "t"}),
        json!({"op": "unwatch", "session": "x"}),
        json!({"id": 3, "op": "renew", "token": "a.b.c"}),
        json!({"op": "ping"}),
        json!({"op": "bye"}),
    ]
}

fn odd_value(choose: &mut impl FnMut(usize) -> usize) -> Value {
    match choose(14) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(""),
        4 => json!(-1),
        5 => json!(u64::MAX),
        6 => json!(0.5),
        7 => json!(1e300),
        8 => json!(true),
        9 => json!("x".repeat(100 + choose(200))),
        10 => json!("\u{0}\"\\\u{FFFF}"),
        11 => json!(choose(1000)),
        12 => json!({"session": "s"}),
        // Deep, but not deeper than the parser that this is compared with goes.
        _ => (0..1 + choose(50)).fold(Value::Null, |inner, _| json!([inner])),
    }
}

/// Takes fields out, puts those of others in, and gives some another value.
fn damage_fields(message: &mut Map<String, Value>, choose: &mut impl FnMut(usize) -> usize) {
    for _ in 0..choose(3) {
        let names: Vec<String> = message.keys().cloned().collect();
        let others = well_formed();
        match choose(4) {
            0 if !names.is_empty() => {
                message.remove(&names[choose(names.len())]);
            }
            1 => {
                let other = others[choose(others.len())].as_object().unwrap();
                let (name, value) = other.iter().nth(choose(other.len())).unwrap();
                message.insert(name.clone(), value.clone());
            }
            2 => {
                let name = ["wings", "", "payload", "data", "constructor"][choose(5)];
                message.insert(name.to_owned(), odd_value(choose));
            }
            _ if !names.is_empty() => {
                message.insert(names[choose(names.len())].clone(), odd_value(choose));
            }
            _ => {}
        }
    }
}

/// Cuts, doubles and changes bytes, and spells letters in another way.
fn damage_text(text: &mut Vec<u8>, choose: &mut impl FnMut(usize) -> usize) {
    for _ in 0..choose(3) {
        if text.is_empty() {
            return;
        }
        let at = choose(text.len());
        match choose(6) {
            0 => text.truncate(at),
            1 => text[at] = b"{}[]\",:\\ 0e-\x00\xff"[choose(14)],
            2 => {
                let part = text[at..(at + 1 + choose(24)).min(text.len())].to_vec();
                text.splice(at..at, part);
            }
            3 if text[at].is_ascii_alphabetic() => {
                let spelled = format!("\\u{:04x}", text[at]);
                text.splice(at..=at, spelled.into_bytes());
            }
            4 => {
                text.splice(at..at, *b" \n");
            }
            _ => text[at] ^= 1 << choose(8),
        }
    }
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Hello { .. } => "hello",
        Op::Claim { .. } => "claim",
        Op::Lookup { .. } => "lookup",
        Op::Signal { .. } => "signal",
        Op::Ack { .. } => "ack",
        Op::Join { .. } => "join",
        Op::Leave { .. } => "leave",
        Op::Publish { .. } => "publish",
        Op::Members { .. } => "members",
        Op::Watch(_) => "watch",
        Op::Unwatch(_) => "unwatch",
        Op::Renew { .. } => "renew",
        Op::Ping => "ping",
        Op::Bye => "bye",
    }
}

/// Whether everything that was read stands in the text, and within its bounds.
fn agrees(op: &Op, value: &Value) -> bool {
    let text = |field: &str, read: &str, most: usize| {
        value[field] == read && (1..=most).contains(&read.chars().count())
    };
    let maybe = |field: &str, read: &Option<String>, most: usize| match read {
        Some(read) => text(field, read, most),
        None => value[field].is_null(),
    };
    let number =
        |field: &Value, read: u64| field.as_u64() == Some(read) || field.as_f64() == Some(read as f64);
    let position = |value: &Value, read: &Option<Position>| match read {
        Some(read) => number(&value["epoch"], read.epoch) && number(&value["offset"], read.offset),
        None => value["epoch"].is_null() && value["offset"].is_null(),
    };
    let raw = |field: &str, read: &[u8]| {
        read.len() <= PAYLOAD_BYTES_MAX && serde_json::from_slice::<Value>(read).unwrap() == value[field]
    };
    let target = |target: &Target| match target {
        Target::Transfer(id) => text("transfer", id, 64) && value["session"].is_null(),
        Target::Negotiation(id) => text("session", id, 64) && value["transfer"].is_null(),
    };
    value["op"] == name(op)
        && match op {
            Op::Hello { token, resume } => {
                maybe("token", token, usize::MAX)
                    && match resume {
                        None => value["resume"].is_null(),
                        Some(Resume { session, from, .. }) => {
                            let past = &value["resume"];
                            past["session"] == **session
                                && session.chars().count() <= SESSION_CHARS_MAX
                                && position(past, from)
                        }
                    }
            }
            Op::Claim { peer, invite_code } => {
                text("peerId", peer, PEER_CHARS_MAX) && maybe("inviteCode", invite_code, 16)
            }
            Op::Lookup { invite_code } => text("inviteCode", invite_code, 16) && invite_code.len() >= 8,
            Op::Signal { to, kind, payload } => {
                text("to", to, PEER_CHARS_MAX) && value["type"] == kind_name(*kind) && raw("payload", payload)
            }
            Op::Ack { seq } => number(&value["seq"], *seq),
            Op::Join { room, from } => text("room", room, ROOM_CHARS_MAX) && position(value, from),
            Op::Leave { room } | Op::Members { room } => maybe("room", room, ROOM_CHARS_MAX),
            Op::Publish { room, data, volatile, message_id } => {
                maybe("room", room, ROOM_CHARS_MAX)
                    && raw("data", data)
                    && value["volatile"].as_bool().unwrap_or(false) == *volatile
                    && match message_id {
                        Some(id) => number(&value["messageId"], *id),
                        None => value["messageId"].is_null(),
                    }
            }
            Op::Watch(watched) | Op::Unwatch(watched) => target(watched),
            Op::Renew { token } => text("token", token, usize::MAX),
            Op::Ping | Op::Bye => true,
        }
}

/// Reads JSON; `None` where it has a number that is larger than any float, which JSON has nothing against.
fn parse(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) => panic!("what was read is no JSON: {error} in {text}"),
    }
}

#[test]
fn hundreds_of_thousands_of_damaged_messages_are_refused_or_read_as_they_are() {
    let mut verdicts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let whole = well_formed();
    for number in 0..MESSAGES {
        let mut choose = chance(number);
        let mut message = whole[choose(whole.len())].clone();
        damage_fields(message.as_object_mut().unwrap(), &mut choose);
        let mut text = message.to_string().into_bytes();
        damage_text(&mut text, &mut choose);
        // What is no UTF-8 is refused before it comes here.
        let text = ByteString::from(String::from_utf8_lossy(&text).into_owned());
        let (id, read) = read(&text);
        let verdict = match &read {
            Ok(op) => {
                let Some(value) = parse(&text) else { continue };
                assert!(agrees(op, &value), "message {number} was read in two ways: {text} as {op:?}");
                name(op)
            }
            Err(code) => code.spec().0,
        };
        if let Some(id) = id {
            let value = parse(&id);
            let plain = value.is_none_or(|value| value.is_string() || value.is_number());
            assert!(plain, "message {number} has the id {id}");
            assert!(id.len() <= ID_BYTES_MAX, "message {number} has a long id");
        }
        *verdicts.entry(verdict).or_default() += 1;
    }
    let ops = whole.iter().map(|message| message["op"].as_str().unwrap());
    let codes = [
        Code::InvalidJson,
        Code::UnknownOp,
        Code::UnknownField,
        Code::MissingFields,
        Code::InvalidInput,
        Code::InvalidInviteCode,
        Code::InvalidSignalType,
    ];
    for way in ops.chain(codes.map(|code| code.spec().0)) {
        assert!(verdicts.contains_key(way), "no message was {way}: {verdicts:?}");
    }
}
