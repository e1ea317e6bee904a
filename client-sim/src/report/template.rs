//! Markup that a template holds, filled in.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// Fills in a template whose values become text, never markup.
pub(crate) fn render(template: &str, with: impl Serialize) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let filled = environment.render_named_str("page.html", template, Serde(with));
    // Neither kind of letter belongs into a page, and the second could reorder what stands beside it.
    let hidden =
        |letter: char| (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter);
    filled.expect("a template names only what it is given").replace(hidden, "\u{fffd}") + "\n"
}
