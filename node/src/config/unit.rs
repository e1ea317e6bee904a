//! Durations and sizes as people write them: `60s`, `250ms`, `1.5h`, `1GiB`.
//!
//! Numbers with a unit, or plain numbers, which mean seconds and bytes. Neither `humantime` nor `bytesize` reads and
//! writes these spellings: the one has no fractions, no plain numbers and writes `1day`, the other writes `80.0 KiB`.

use std::time::Duration;

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
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    exact(ms, &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)], "ms")
}

/// Writes a number of bytes in its largest exact unit.
pub fn print_size(bytes: u64) -> String {
    exact(bytes, &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)], "B")
}

fn exact(amount: u64, units: &[(&str, u64)], least: &str) -> String {
    let fits = units.iter().find(|(_, size)| amount > 0 && amount.is_multiple_of(*size));
    fits.map_or_else(|| format!("{amount}{least}"), |(unit, size)| format!("{}{unit}", amount / size))
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

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number, for what is kept in memory.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

macro_rules! units {
    ($type:ty: $make:expr; $($name:ident = $factor:expr),*) => { $(
        pub(super) const fn $name(count: u64) -> $type {
            $make(count * $factor)
        }
    )* };
}

units!(Duration: Duration::from_millis; ms = 1, secs = 1000, minutes = 60_000, hours = 3_600_000, days = 86_400_000);
units!(Bytes: Bytes; kib = 1 << 10, mib = 1 << 20, gib = 1 << 30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_with_and_without_units() {
        let texts = ["60s", "250ms", "1.5h", "2d", "5 m", "30", "0"];
        let ms = [60_000, 250, 5_400_000, 172_800_000, 300_000, 30_000, 0];
        assert_eq!(texts.map(parse_span), ms.map(|ms| Ok(Duration::from_millis(ms))));
        for text in ["", "s", "-1s", "1 fortnight", "1e9s", "60s60s", "9999999999d", "1.2.3s"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_with_and_without_units() {
        let texts = ["1GiB", "64KiB", "1.5 MiB", "2MB", "123", "7B"];
        assert_eq!(texts.map(parse_size), [1 << 30, 65_536, 1_572_864, 2_000_000, 123, 7].map(Ok));
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
