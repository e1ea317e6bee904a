//! How several commands spell what they print.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::config::unit::print_span;

/// What a node answered, as one line of JSON.
pub(super) fn json(answered: &impl Serialize) -> String {
    serde_json::to_string(answered).expect("what was read from JSON can be written as JSON")
}

/// How long it is, by this machine's clock, to an instant in milliseconds since the Unix epoch.
pub(super) fn time_to(instant_ms: u64) -> String {
    let now_ms = UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as u64);
    print_span(Duration::from_secs(instant_ms.saturating_sub(now_ms) / 1000))
}

/// A name that somebody else chose, as people are shown it: each character can be taken for no other one, and none changes
/// how the others look. What is no visible ASCII character is written `\u{202e}`, and so is a blank at either end or beside
/// another one, which could be taken for what stands between two columns; a backslash is doubled.
pub(super) fn plain(name: &str) -> String {
    let (mut plain, mut before) = (String::with_capacity(name.len()), ' ');
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let stands_alone = before != ' ' && letters.peek().is_some_and(|next| *next != ' ');
        match letter {
            '\\' => plain.push_str("\\\\"),
            ' ' if stands_alone => plain.push(' '),
            letter if letter.is_ascii_graphic() => plain.push(letter),
            letter => plain.extend(letter.escape_unicode()),
        }
        before = letter;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_takes_no_time() {
        assert_eq!(time_to(0), print_span(Duration::ZERO));
        assert_ne!(time_to(u64::MAX), print_span(Duration::ZERO));
    }

    #[test]
    fn a_name_that_is_shown_can_be_taken_for_no_other() {
        assert_eq!(plain("Ann's phone/2"), "Ann's phone/2");
        for (name, shown) in [
            ("phone\u{202e}gnp", r"phone\u{202e}gnp"),
            ("pho\u{200b}ne", r"pho\u{200b}ne"),
            ("\u{440}hone", r"\u{440}hone"),
            ("\x1b[2J", r"\u{1b}[2J"),
            (r"pho\u{200b}ne", r"pho\\u{200b}ne"),
            ("phone  key", r"phone\u{20}\u{20}key"),
            (" a ", r"\u{20}a\u{20}"),
            ("a\u{a0}b", r"a\u{a0}b"),
        ] {
            assert_eq!(plain(name), shown);
        }
    }
}
