//! How the value of a key is read and written. A file has TOML; a variable or a flag has text, which is read as the
//! kind of TOML value that the key has.

use std::net::SocketAddr;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::time::Duration;

use super::address;
use super::sections::LogFormat;
use super::unit::{Bytes, parse_size, parse_span, print_size, print_span};
use crate::edition::Edition;
use crate::listener::tls::Minimum;

/// A value of a type that keys have.
pub(super) trait Value {
    fn read(&mut self, value: toml::Value) -> Result<(), String>;
    fn write(&self) -> toml::Value;
}

macro_rules! by_serde {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn read(&mut self, value: toml::Value) -> Result<(), String> {
                *self = value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
                Ok(())
            }
            fn write(&self) -> toml::Value {
                toml::Value::try_from(self).expect("it is a plain value")
            }
        }
    )* };
}

by_serde!(bool, u8, u32, u64, usize, String, Vec<String>, Edition, LogFormat, Minimum);

impl Value for PathBuf {
    fn read(&mut self, value: toml::Value) -> Result<(), String> {
        let path: Self = value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        if path.starts_with("~") {
            let why =
                "the shell alone knows what ~ is, and only where it begins a word: write the whole path";
            return Err(why.to_owned());
        }
        *self = path;
        Ok(())
    }

    fn write(&self) -> toml::Value {
        toml::Value::try_from(self).expect("it is a plain value")
    }
}

macro_rules! by_text {
    ($($type:ty: $print:expr, $parse:expr;)*) => { $(
        impl Value for $type {
            fn read(&mut self, value: toml::Value) -> Result<(), String> {
                *self = $parse(&shown(&value))?;
                Ok(())
            }
            fn write(&self) -> toml::Value {
                toml::Value::String($print(self))
            }
        }
    )* };
}

by_text! {
    Duration: |span: &Duration| print_span(*span), parse_span;
    Bytes: |bytes: &Bytes| print_size(bytes.0), |text: &str| parse_size(text).map(Bytes);
    SocketAddr: ToString::to_string, address::parse;
    Option<SocketAddr>: |address: &Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default(),
        |text: &str| if text.is_empty() { Ok(None) } else { address::parse(text).map(Some) };
}

/// A value as people write it: a string without its quotes.
pub(super) fn shown(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a range admits.
pub(super) fn bounds<T: Value>(range: &impl RangeBounds<T>) -> String {
    let end = |bound: Bound<&T>| match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(shown(&value.write())),
        Bound::Unbounded => None,
    };
    match (end(range.start_bound()), end(range.end_bound())) {
        (Some(least), Some(most)) => format!("between {least} and {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "anything".to_owned(),
    }
}

/// Reads text as a value of the kind that `like` is.
pub(super) fn typed(like: &toml::Value, text: &str) -> Result<toml::Value, String> {
    match like {
        toml::Value::Boolean(_) => switch(text).map(Into::into),
        toml::Value::Integer(_) | toml::Value::Float(_) => {
            let number: Option<i64> = text.trim().replace('_', "").parse().ok().filter(|number| *number >= 0);
            number.map(Into::into).ok_or_else(|| format!("`{text}` is not a whole number"))
        }
        toml::Value::Array(_) => list(text),
        toml::Value::String(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            Ok(text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).into())
        }
    }
}

/// Reads a switch in any of the usual spellings.
fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Reads a list: `a, b` or, as in TOML, `["a", "b"]`.
fn list(text: &str) -> Result<toml::Value, String> {
    let text = text.trim();
    if !text.starts_with('[') {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(items.map(toml::Value::from).collect::<Vec<_>>().into());
    }
    let mut table = format!("list = {text}").parse::<toml::Table>().unwrap_or_default();
    let strings = table.remove("list").filter(|list| {
        table.is_empty() && list.as_array().is_some_and(|items| items.iter().all(toml::Value::is_str))
    });
    strings.ok_or_else(|| format!("`{text}` is not a list of strings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_shell_s_alone() {
        let read = |text: &str| {
            let mut path = PathBuf::new();
            path.read(text.into()).map(|()| path)
        };
        for text in ["~", "~/data", "~/"] {
            assert!(read(text).unwrap_err().contains("write the whole path"), "{text}");
        }
        for text in ["", "/data", "data/~", "~data", "./~/data"] {
            assert_eq!(read(text), Ok(PathBuf::from(text)));
        }
    }
}
