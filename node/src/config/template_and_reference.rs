//! All keys for people: as a file to begin with, and as the page of reference.

use std::fmt::Write;

use super::schema::{Key, SECTIONS};
use super::value::shown;

/// All keys with their defaults and what they mean, as TOML that reads back to the defaults.
pub fn template() -> String {
    let mut out = String::from(
        "# Conclave. Every key with its default; keep what you change.\n\
         # Stronger than this file: CONCLAVE_SECTION__KEY in the environment (CONCLAVE_SECTION__KEY_FILE names a file\n\
         # that holds the value), and --set section.key=value on the command line.\n",
    );
    // A section without keys of its own, such as `allowance.tiers`, needs no header.
    for section in SECTIONS.iter().filter(|section| !section.keys.is_empty()) {
        let _ = write!(out, "\n# {}\n[{}]\n", in_one_line(&section.about[0]), section.path);
        for Key { name, about, default, .. } in &section.keys {
            let name = name.rsplit('.').next().unwrap_or(name);
            let _ = write!(out, "# {}\n{name} = {default}\n", in_one_line(&about[0]));
        }
    }
    out
}

/// The page `docs/configuration.md`: what is said about configuration as a whole, and all keys in its middle.
pub fn reference() -> String {
    let mut keys = String::new();
    for section in SECTIONS.iter() {
        let _ = write!(keys, "### {}\n\n{}\n\n", section.path, section.about.join("\n\n"));
        if section.keys.is_empty() {
            continue;
        }
        keys.push_str("| key | default | bounds | meaning |\n| --- | --- | --- | --- |\n");
        for Key { name, about, default, bounds } in &section.keys {
            let default = Some(shown(default)).filter(|text| !text.is_empty());
            let default = default.map(|text| format!("`{text}` ")).unwrap_or_default();
            let bounds = bounds.as_ref().map(|text| format!("{text} ")).unwrap_or_default();
            let meaning = in_one_line(&about.join(" "));
            let _ = writeln!(keys, "| `{name}` | {default}| {bounds}| {meaning} |");
        }
        keys.push('\n');
    }
    include_str!("reference.md").replace("<!-- keys -->\n", keys.trim_end_matches('\n'))
}

fn in_one_line(text: &str) -> String {
    text.replace('\n', " ")
}
