//! Binary frames: the input itself as a frame, and a well-formed frame that the input chooses and damages.
#![no_main]

use arbitrary::Unstructured;
use bytes::Bytes;
use conclave_sigma::{Frame, decode, encode};
use libfuzzer_sys::fuzz_target;

#[path = "../../sigma/tests/mutated/mutation.rs"]
mod mutation;
#[path = "../../sigma/tests/mutated/oracle.rs"]
mod oracle;

/// Input that begins like this chooses; any other is a frame as it is.
const CHOOSES: u8 = b'~';

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((&CHOOSES, rest)) => {
            let mut input = Unstructured::new(rest);
            let Ok(frame) = choose_frame(&mut input) else { return };
            let mut bytes = encode(&frame).to_vec();
            let mut choose = |below: usize| input.choose_index(below).unwrap_or(0);
            mutation::damage(&mut bytes, &mut choose);
            judge(bytes);
        }
        _ => judge(input.to_vec()),
    }
});

fn choose_frame(input: &mut Unstructured<'_>) -> arbitrary::Result<Frame> {
    Ok(match input.int_in_range(0..=5)? {
        0 => Frame::Connect { session_id: input.arbitrary()?, client_version: input.arbitrary()? },
        1 => Frame::Disconnect { reason: input.arbitrary()? },
        2 => Frame::Data {
            payload: input.arbitrary::<Vec<u8>>()?.into(),
            message_id: input.arbitrary()?,
            timestamp: input.arbitrary()?,
        },
        3 => Frame::Heartbeat { timestamp: input.arbitrary()? },
        4 => Frame::Reconnect { session_id: input.arbitrary()?, last_message_id: input.arbitrary()? },
        _ => Frame::Error { code: input.arbitrary()?, message: input.arbitrary()? },
    })
}

/// What decodes must be read the same by the reader written by hand, and must survive the way back.
fn judge(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    if let Ok(frame) = decode(&bytes) {
        assert_eq!(oracle::read(&bytes).as_ref(), Some(&frame));
        let again = encode(&frame);
        // A payload at its limit fits with what was around it, and so it does with less.
        assert_eq!(decode(&again), Ok(frame));
    }
}
