//! Which keys there are, read off the table once.

use std::sync::LazyLock;

use super::Config;
use super::section_macro::{Entry, Section as _};

/// A section with keys.
pub(super) struct Section {
    /// Its dotted name.
    pub(super) path: String,
    /// Its documentation, in paragraphs.
    pub(super) about: Vec<String>,
    pub(super) keys: Vec<Key>,
}

/// A key.
pub(super) struct Key {
    /// Its dotted name.
    pub(super) name: String,
    /// Its documentation, in paragraphs: the first for the template, all of them for the reference.
    pub(super) about: Vec<String>,
    /// What is admitted, if that is a range.
    pub(super) bounds: Option<String>,
    pub(super) default: toml::Value,
}

/// All sections and keys, in the order of the table.
pub(super) static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let mut sections: Vec<Section> = Vec::new();
    Config::default().walk("", &mut |entry| match entry {
        Entry::Section { path, about } => {
            sections.push(Section { path, about: paragraphs(about), keys: Vec::new() });
        }
        Entry::Key { name, about, verdict, value } => {
            let (about, bounds, default) = (paragraphs(about), verdict.bounds, value.write());
            let key = Key { name, about, bounds, default };
            sections.last_mut().expect("every key is in a section").keys.push(key);
        }
    });
    sections
});

pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| &section.keys)
}

fn names() -> impl Iterator<Item = &'static str> {
    keys().map(|key| key.name.as_str())
}

/// A key inside the section `name`, if that is a section.
pub(super) fn within(name: &str) -> Option<&'static str> {
    names().find(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The known key nearest to `wrong`: by the whole path, or by its last word in the same or another section.
pub(super) fn nearest(wrong: &str) -> &'static str {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &&str| {
        let whole = strsim::damerau_levenshtein(wrong, key);
        // The right word in the wrong section is nearer than any word of equal length in the right one.
        let word = strsim::damerau_levenshtein(&last(wrong), &last(key)) * 2 + 2;
        (whole.min(word), whole)
    };
    names().min_by_key(distance).expect("there are keys")
}

/// The paragraphs of a documentation comment; those of prose each in one line, lists as they are.
fn paragraphs(about: &str) -> Vec<String> {
    let text: Vec<&str> = about.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    text.join("\n").split("\n\n").map(|paragraph| paragraph.trim_end().to_owned()).collect()
}
