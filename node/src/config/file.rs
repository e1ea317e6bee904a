//! The one TOML file: every value is set with its line as its origin.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::draft::{Draft, Given};
use super::problem::Problem;
use super::section_macro::dotted;

/// A longer file is a mistake, such as a path to something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read(path: &Path, draft: &mut Draft) {
    match contents(path) {
        Ok(text) => parse(path, &text, draft),
        Err(error) => {
            draft.problems.push(Problem::Unreadable { path: path.to_owned(), origin: None, error });
        }
    }
}

/// The text of a file of bounded size.
pub(super) fn contents(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    // Some editors begin a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn parse(path: &Path, text: &str, draft: &mut Draft) {
    // Parsed twice: once for the places, once for the values.
    match (DeTable::parse(text), text.parse()) {
        (Ok(places), Ok(table)) => leaves(places.get_ref(), &table, "", &mut |key, value, start| {
            let origin = format!("{}, line {}", path.display(), line(text, start));
            draft.set(&key, Given::Toml(value.clone()), origin);
        }),
        (Err(error), _) | (_, Err(error)) => draft.problems.push(Problem::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line(text, span.start)),
            why: error.message().to_owned(),
        }),
    }
}

/// All values that are not tables, with their dotted keys and where these begin. An empty table counts as a value, so
/// that an unknown empty section is noticed.
fn leaves(places: &DeTable<'_>, table: &Table, prefix: &str, found: &mut dyn FnMut(String, &Value, usize)) {
    for (name, place) in places {
        let key = dotted(prefix, name.get_ref());
        match (place.get_ref(), &table[name.get_ref().as_ref()]) {
            (DeValue::Table(places), Value::Table(inner)) if !inner.is_empty() => {
                leaves(places, inner, &key, found);
            }
            (_, value) => found(key, value, name.span().start),
        }
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_value() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}debug\n").unwrap();
        assert_eq!(contents(file.path()).unwrap(), "debug\n");
    }
}
