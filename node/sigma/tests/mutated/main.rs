//! A million damaged frames: none panics, none makes the reader take memory, and none gets past it that a second
//! reader, written by hand, does not read the same.
// All of this is test code, helpers outside `#[test]` functions included.
#![allow(clippy::unwrap_used)]

mod mutation;
mod oracle;

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use conclave_sigma::{Frame, decode, encode};

const FRAMES: u64 = 1_000_000;
const SEED: u64 = 0x5197_a50c;
/// What resident memory may grow by: a few times the largest frame, and what an allocator keeps.
const GROWTH_KIB_MAX: u64 = 16 << 10;

/// SplitMix64, from a seed of the frame's own, so that each is made again by its number alone.
fn chance(frame: u64) -> impl FnMut(usize) -> usize {
    let mut state = SEED ^ frame.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % below as u64) as usize
    }
}

fn letters(length: usize) -> String {
    "aZ09_-".chars().cycle().take(length).collect()
}

fn well_formed(choose: &mut impl FnMut(usize) -> usize) -> Frame {
    let number = |choose: &mut dyn FnMut(usize) -> usize| [0, 1, 1_700_000_000_000, u64::MAX][choose(4)];
    match choose(6) {
        0 => Frame::Connect { session_id: letters(choose(132)), client_version: letters(choose(66)) },
        1 => Frame::Disconnect { reason: letters(choose(258)) },
        2 => {
            // Now and then one at the limit; mostly short, since it is not the payload that is read.
            let length = if choose(2000) == 0 { (32 << 10) + choose(2) } else { choose(100) };
            let payload = vec![choose(256) as u8; length].into();
            Frame::Data { payload, message_id: number(choose), timestamp: number(choose) }
        }
        3 => Frame::Heartbeat { timestamp: number(choose) },
        4 => Frame::Reconnect { session_id: letters(choose(132)), last_message_id: number(choose) },
        _ => Frame::Error { code: choose(600) as u32, message: letters(choose(258)) },
    }
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_million_damaged_frames_are_refused_or_read_alike() {
    let mut verdicts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let before = resident_kib();
    for number in 0..FRAMES {
        let mut choose = chance(number);
        let mut bytes = encode(&well_formed(&mut choose)).to_vec();
        mutation::damage(&mut bytes, &mut choose);
        let bytes = Bytes::from(bytes);
        let verdict = match decode(&bytes) {
            Ok(frame) => {
                assert_eq!(oracle::read(&bytes), Some(frame), "frame {number} was read in two ways");
                "good"
            }
            Err(malformed) => malformed.name(),
        };
        *verdicts.entry(verdict).or_default() += 1;
    }
    let grown = resident_kib() - before;
    assert!(grown <= GROWTH_KIB_MAX, "reading took {grown} KiB");

    // Every way out was taken, else the damage is not what it should be; only a frame that is too large by far is not
    // made here.
    let taken: Vec<_> = verdicts.keys().copied().collect();
    let all = [
        "broken",
        "client_version",
        "empty",
        "error_text",
        "good",
        "not_utf8",
        "payload",
        "reason",
        "session_id",
        "type_mismatch",
        "unknown_type",
    ];
    for way in all {
        assert!(taken.contains(&way), "no frame was {way}: {verdicts:?}");
    }
    assert!(verdicts["good"] < FRAMES / 2, "most frames were not damaged: {verdicts:?}");
}
