//! Fields of JSON requests, read once and without failing on a wrong type: which error a wrong type is, each
//! action decides.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A field that should be a string.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    /// It isn't there, or is `null`.
    #[default]
    Absent,
    /// It is a string.
    String(Cow<'a, str>),
    /// It is something else.
    Other,
}

impl<'a> Text<'a> {
    /// The string, if there is one and it isn't empty.
    pub(crate) fn filled(&self) -> Option<&str> {
        match self {
            Self::String(text) if !text.is_empty() => Some(text),
            Self::String(_) | Self::Absent | Self::Other => None,
        }
    }
}

/// How many characters, as JavaScript counts none of them more than once.
pub(crate) fn chars(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Bytes that should be JSON, and that a client may have written otherwise before they were checked.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Brackets within brackets that every reader of JSON takes.
const NESTING_MAX: usize = 64;

/// Whether every reader can read a JSON text that is in order: no surrogate alone (RFC 8259, section 8.2), no number beyond
/// a double, no deep nesting. Such a text would fail where it is read, not where it was written.
pub(crate) fn is_portable(json: &str) -> bool {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_end(bytes, at + 1) {
                Some(end) => at = end,
                None => return false,
            },
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                if !is_double(&bytes[at..end]) {
                    return false;
                }
                at = end;
            }
            _ => at += 1,
        }
        if depth > NESTING_MAX {
            return false;
        }
    }
    true
}

/// The highest power of ten below the end of doubles, and the first digits of what they end with (Number.MAX_VALUE).
const DOUBLE_MAX: (i64, u64) = (308, 17_976_931_348_623_157);
/// How many digits that are.
const DOUBLE_DIGITS: usize = 17;

/// Whether a number of a JSON text that is in order lies within the doubles. It is not read as one: there are numbers of 25
/// bytes that take a parser 12 µs, and a text has room for ten thousand.
fn is_double(number: &[u8]) -> bool {
    let number = number.strip_prefix(b"-").unwrap_or(number);
    // Without an exponent, a double is beyond its end after 308 digits.
    let mantissa_len = memchr::memchr2(b'e', b'E', number).unwrap_or(number.len());
    if mantissa_len == number.len() && number.len() <= 300 {
        return true;
    }
    let (mantissa, exponent) = number.split_at(mantissa_len);
    let point = memchr::memchr(b'.', mantissa).unwrap_or(mantissa_len);
    let digits = || mantissa.iter().filter(|byte| **byte != b'.');
    let Some(zeros) = digits().position(|digit| *digit != b'0') else { return true };
    let power = (point as i64 - 1 - zeros as i64).saturating_add(exponent_of(exponent));
    let (most, first_most) = DOUBLE_MAX;
    if power != most {
        return power < most;
    }
    let first = digits().skip(zeros).chain([b'0'; DOUBLE_DIGITS].iter()).take(DOUBLE_DIGITS);
    first.fold(0, |sum, digit| 10 * sum + u64::from(digit - b'0')) <= first_most
}

/// What a number's exponent says, `e` and all; nothing is 0. Saturates.
fn exponent_of(exponent: &[u8]) -> i64 {
    let Some(signed) = exponent.get(1..) else { return 0 };
    let sum = |digits: &[u8]| {
        digits.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
    };
    match signed {
        [b'-', digits @ ..] => -sum(digits),
        [b'+', digits @ ..] => sum(digits),
        digits => sum(digits),
    }
}

/// Where a string ends whose first character is at `at`, unless it has half a pair of surrogates.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes.get(at + 1) {
            _ if bytes[at] == b'"' => return Some(at + 1),
            Some(b'u') => {
                let unit = unit(bytes, at + 2)?;
                at += 6;
                match unit {
                    0xd800..=0xdbff if bytes.get(at..at + 2) == Some(b"\\u") => {
                        matches!(self::unit(bytes, at + 2)?, 0xdc00..=0xdfff).then_some(())?;
                        at += 6;
                    }
                    0xd800..=0xdfff => return None,
                    _ => {}
                }
            }
            Some(_) | None => at += 2,
        }
    }
}

/// Four hexadecimal digits.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    u16::from_str_radix(str::from_utf8(bytes.get(at..at + 4)?).ok()?, 16).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text::String(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text::String(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A field of any JSON value, kept byte for byte; `null` is a value too.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw)))
    }
}

/// What a field that should be an integer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer {
    /// It isn't there, or is `null`.
    Absent,
    /// It is no number.
    Other,
    /// It is a number, but none that fits an `i64`.
    Unfit,
    /// It is this.
    Is(i64),
}

impl Raw<'_> {
    /// Reads an integer the way JSON's numbers are meant: `3`, `3.0` and `30e-1` are the same.
    pub(crate) fn integer(self) -> Integer {
        let Some(raw) = self.0 else { return Integer::Absent };
        let text = raw.get();
        match text.as_bytes() {
            [b'-' | b'0'..=b'9', ..] => {}
            b"null" => return Integer::Absent,
            _ => return Integer::Other,
        }
        if let Ok(integer) = text.parse() {
            return Integer::Is(integer);
        }
        match text.parse::<f64>() {
            // Up to 2⁵³ a float is exact.
            Ok(float) if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 => {
                Integer::Is(float as i64)
            }
            Ok(_) | Err(_) => Integer::Unfit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        text: Text<'a>,
        #[serde(borrow, default)]
        raw: Raw<'a>,
    }

    fn text(json: &str) -> Option<String> {
        let body = format!("{{\"text\":{json},\"unknown\":[1,{{}}]}}");
        serde_json::from_str::<Request<'_>>(&body).unwrap().text.filled().map(str::to_owned)
    }

    fn integer(json: &str) -> Integer {
        let body = format!("{{\"raw\":{json}}}");
        serde_json::from_str::<Request<'_>>(&body).unwrap().raw.integer()
    }

    #[test]
    fn only_a_filled_string_is_text() {
        assert_eq!(text("\"abc\"").as_deref(), Some("abc"));
        assert_eq!(text("\"a\\n\\u00e4\"").as_deref(), Some("a\nä"));
        for other in ["\"\"", "null", "1", "-1", "1.5", "true", "[\"a\"]", "{\"a\":\"b\"}"] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn integers_are_numbers_without_a_fraction() {
        assert_eq!(integer("0"), Integer::Is(0));
        assert_eq!(integer("-0"), Integer::Is(0));
        assert_eq!(integer("7.0"), Integer::Is(7));
        assert_eq!(integer("70e-1"), Integer::Is(7));
        assert_eq!(integer("-3"), Integer::Is(-3));
        for unfit in ["1.5", "1e999", "99999999999999999999", "-1e300"] {
            assert_eq!(integer(unfit), Integer::Unfit, "{unfit}");
        }
        for other in ["\"1\"", "true", "[1]", "{}"] {
            assert_eq!(integer(other), Integer::Other, "{other}");
        }
        assert_eq!(integer("null"), Integer::Absent);
    }

    #[test]
    fn a_raw_value_is_kept_byte_for_byte() {
        let body = r#"{"raw": { "b" : 1.0,"a":"\u0041" } }"#;
        let request: Request<'_> = serde_json::from_str(body).unwrap();
        assert_eq!(request.raw.0.unwrap().get(), r#"{ "b" : 1.0,"a":"\u0041" }"#);
        assert!(serde_json::from_str::<Request<'_>>(r#"{"raw":null}"#).unwrap().raw.0.is_some());
        assert!(serde_json::from_str::<Request<'_>>("{}").unwrap().raw.0.is_none());
    }

    #[test]
    fn what_strict_readers_cannot_read_is_told() {
        let deep =
            |depth: usize| format!("{}{}", "[{\"a\":".repeat(depth / 2), "1") + &"}]".repeat(depth / 2);
        let digits = |count| "9".repeat(count);
        for good in
            [r#"{"a":"\ud83d\ude00","b":[1e308,-0.5,"\\ud800","\""]}"#, "null", "1", &digits(308), &deep(64)]
        {
            assert!(serde_json::from_str::<&RawValue>(good).is_ok() && is_portable(good), "{good}");
        }
        for bad in [
            r#""\ud800""#,
            r#"{"a":["\udc00"]}"#,
            r#""\ud800\u0041""#,
            r#""\ud800x""#,
            r#"{"\udfff":1}"#,
            "1e400",
            "[0,-1e999]",
            &digits(310),
            &deep(66),
        ] {
            assert!(serde_json::from_str::<&RawValue>(bad).is_ok() && !is_portable(bad), "{bad}");
        }
    }

    #[test]
    fn a_number_is_judged_by_its_size_however_it_is_written() {
        let zeros = |count| "0".repeat(count);
        for good in [
            "1.7976931348623157e308",
            "-1.7976931348623157E+308",
            "17976931348623157e292",
            "123e306",
            "0e99999999999999999999",
            "0.0e-99999999999999999999",
            "1e-99999999999999999999",
            "12345678901234567890e281",
            &format!("0.{}1e708", zeros(400)),
            &format!("1{}e-700", zeros(400)),
            &format!("0.{}", zeros(400)),
        ] {
            assert!(is_portable(good), "{good}");
            assert!(good.parse::<f64>().unwrap().is_finite(), "{good}");
        }
        for bad in [
            "1.797693134862316e308",
            "-9e308",
            "1e309",
            "123e307",
            "1e99999999999999999999",
            &format!("0.{}2e710", zeros(400)),
            &format!("1{}e-90", zeros(400)),
        ] {
            assert!(!is_portable(bad), "{bad}");
            assert!(bad.parse::<f64>().unwrap().is_infinite(), "{bad}");
        }
    }
}
