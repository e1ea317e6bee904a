//! Refusals for want of room that are known before anything is proposed.

use super::*;

#[test]
fn a_chunk_without_room_is_known_before_it_is_put() {
    let mut lab = lab();
    let refusal = |lab: &Lab, name: &str, transfer: &str, index: u16, total: Option<u16>| {
        let key = Key::derive(Domain::Transfer, &[transfer.as_bytes()]);
        let chunk = NewChunk { index, total, bytes: 1000, owner: owner(name), remembered: false };
        lab.read(query::ChunkRefusal(key, chunk))
    };
    assert_eq!(refusal(&lab, ANN, "t", 0, Some(1)), None, "no rules are known yet");
    lab.fill(ANN);
    let full = Some(Refusal::ShareFull);
    assert_eq!(refusal(&lab, ANN, "t", 0, Some(1)), full);
    assert_eq!(refusal(&lab, ANN, ANN, 2047, Some(2048)), full);
    assert_eq!(refusal(&lab, BOB, "t", 0, Some(1)), None);
    for (transfer, index, total, other) in [
        (ANN, 0, Some(2048), "it is there already"),
        (ANN, 2047, Some(7), "another total"),
        ("t", 1, Some(1), "no such place"),
        ("t", 0, None, "no such transfer"),
    ] {
        assert_eq!(refusal(&lab, ANN, transfer, index, total), None, "{other} decides");
    }
    lab.wait(lab.state.next_expiry_ms().unwrap() - lab.now_ms);
    assert_eq!(refusal(&lab, ANN, "t", 0, Some(1)), None, "a proposal would free what is due");
    lab.tick();
    assert_eq!(refusal(&lab, ANN, "t", 0, Some(1)), None, "there is room");
}
