//! Damage to well-formed frames where it hurts: offsets, lengths, vtables, tags, texts.

/// Chooses a number below another; chance, or a fuzzer's bytes. Never asked for one below 0.
pub(crate) trait Choose: FnMut(usize) -> usize {}
impl<F: FnMut(usize) -> usize> Choose for F {}

/// What damaged frames grow to at most.
const BYTES_MAX: usize = 70 << 10;

/// Damages a frame in one to four places. Now and then it is all of its builder's buffer.
pub(crate) fn damage(frame: &mut Vec<u8>, choose: &mut impl Choose) {
    if choose(8) == 0 {
        let unused = choose(600);
        frame.splice(..0, vec![0; unused]);
    }
    for _ in 0..=choose(4) {
        if frame.is_empty() {
            return;
        }
        match choose(12) {
            0..=3 => offset(frame, choose),
            4..=6 => vtable(frame, choose),
            7 => tag(frame, choose),
            8 => byte(frame, choose),
            9 => text(frame, choose),
            10 => cut(frame, choose),
            _ => splice(frame, choose),
        }
    }
}

/// An aligned word of four bytes, which is an offset, a length, or half a number, becomes another.
fn offset(frame: &mut [u8], choose: &mut impl Choose) {
    let at = choose(frame.len().div_ceil(4)) * 4;
    let Some(place) = frame.get(at..at + 4) else { return };
    let old = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
    let length = frame.len() as u32;
    let new = match choose(10) {
        0 => 0,
        1 => u32::MAX,
        2 => i32::MIN as u32,
        3 => old.wrapping_add(1 + choose(8) as u32),
        4 => old.wrapping_sub(1 + choose(8) as u32),
        // To the end, or just about.
        5 => length.wrapping_sub(at as u32).wrapping_add(choose(9) as u32).wrapping_sub(4),
        // Back to itself, or to somewhere before.
        6 => (choose(at + 1) as u32).wrapping_sub(at as u32),
        7 => choose(frame.len()) as u32,
        8 => old.swap_bytes(),
        _ => old ^ (1 << choose(32)),
    };
    frame[at..at + 4].copy_from_slice(&new.to_le_bytes());
}

/// An aligned word of two bytes in the front, where vtables are, becomes another.
fn vtable(frame: &mut [u8], choose: &mut impl Choose) {
    let at = choose(frame.len().min(64).div_ceil(2)) * 2;
    let Some(place) = frame.get(at..at + 2) else { return };
    let old = u16::from_le_bytes([place[0], place[1]]);
    let new = match choose(6) {
        0 => 0,
        1 => u16::MAX,
        2 => old.wrapping_add(1 + choose(4) as u16),
        3 => old.wrapping_sub(1 + choose(4) as u16),
        4 => choose(64) as u16,
        _ => choose(frame.len().min(usize::from(u16::MAX))) as u16,
    };
    frame[at..at + 2].copy_from_slice(&new.to_le_bytes());
}

/// One of the small numbers in the front, of which two are tags, becomes another small number.
fn tag(frame: &mut [u8], choose: &mut impl Choose) {
    let at = choose(frame.len().min(48));
    if frame[at] < 8 {
        frame[at] = choose(9) as u8;
    }
}

fn byte(frame: &mut [u8], choose: &mut impl Choose) {
    let at = choose(frame.len());
    frame[at] = choose(256) as u8;
}

/// A byte near the end, where texts are, becomes one that is no UTF-8 by itself, ends a text, or is a strange letter.
fn text(frame: &mut [u8], choose: &mut impl Choose) {
    let back = choose(frame.len().min(80));
    let at = frame.len() - 1 - back;
    frame[at] = [0, 0x80, 0xff, 0xc0, b' ', b'/', b'a'][choose(7)];
}

fn cut(frame: &mut Vec<u8>, choose: &mut impl Choose) {
    let length = match choose(3) {
        0 => choose(frame.len()),
        1 => frame.len().saturating_sub(1 + choose(8)),
        _ => frame.len().min(choose(16)),
    };
    frame.truncate(length);
}

/// A part of the frame is put in again somewhere, or zeros are, so that everything behind moves.
fn splice(frame: &mut Vec<u8>, choose: &mut impl Choose) {
    let from = choose(frame.len());
    let length = 1 + choose((frame.len() - from).min(32));
    let part = match choose(2) {
        0 => vec![0; length],
        _ => frame[from..(from + length).min(frame.len())].to_vec(),
    };
    if frame.len() + part.len() <= BYTES_MAX {
        let at = choose(frame.len() + 1);
        frame.splice(at..at, part);
    }
}
