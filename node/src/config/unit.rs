//! Durations and sizes as people write them: `60s`, `250ms`, `1.5h`, `1GiB`.
//!
//! [`span`] and [`size`] are for `#[serde(with = "…")]`: numbers with a unit, or plain numbers, which mean seconds
//! and bytes.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};

/// The largest duration that is accepted: a hundred years, so that no sum of instants can overflow.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

const SPANS: &[(&str, f64)] =
    &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0), ("", 1.0)];

const SIZES: &[(&str, f64)] = &[
    ("b", 1.0),
    ("", 1.0),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
];

/// Reads `text` as a duration.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 60s, 250ms, 5m, 1h or 2d");
    let seconds = scaled(text, SPANS).ok_or_else(wrong)?;
    if seconds > SECONDS_MAX {
        return Err(format!("`{text}` is longer than a hundred years"));
    }
    // Rounded to a millisecond, the finest unit there is, so that what is printed reads back as the same value.
    Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// Reads `text` as a number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 64KiB, 512MiB or 1GiB");
    let bytes = scaled(text, SIZES).ok_or_else(wrong)?;
    if bytes > 2f64.powi(53) {
        return Err(format!("`{text}` is more than this machine could hold"));
    }
    Ok(bytes.round() as u64)
}

/// Writes a duration in its largest exact unit.
pub fn print_span(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms > 0 && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// Writes a number of bytes in its largest exact unit.
pub fn print_size(bytes: u64) -> String {
    for (unit, size) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * factor)
}

/// Reads a string through a parser, and a plain number as if it were written without a unit.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
}

/// Durations, for serde.
pub mod span {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// Writes the largest exact unit.
    pub fn serialize<S: Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::print_span(*span))
    }

    /// Reads a number with a unit, or plain seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_any(super::Text { expected: "a duration such as \"60s\"", parse: super::parse_span })
    }
}

/// Sizes, for serde.
pub mod size {
    use serde::{Deserializer, Serializer};

    /// Writes the largest exact unit.
    pub fn serialize<S: Serializer>(bytes: &u64, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::print_size(*bytes))
    }

    /// Reads a number with a unit, or plain bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_any(super::Text { expected: "a size such as \"1GiB\"", parse: super::parse_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_with_and_without_units() {
        for (text, ms) in [
            ("60s", 60_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("5 m", 300_000),
            ("30", 30_000),
            ("0", 0),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1 fortnight", "1e9s", "60s60s", "9999999999d", "1.2.3s"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_with_and_without_units() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("64KiB", 65_536),
            ("1.5 MiB", 1_572_864),
            ("2MB", 2_000_000),
            ("123", 123),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "1 stone", "99999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for ms in [0, 1, 250, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let span = Duration::from_millis(ms);
            assert_eq!(parse_span(&print_span(span)), Ok(span));
        }
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, 3 << 30, 5 << 40] {
            assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
        }
    }
}
