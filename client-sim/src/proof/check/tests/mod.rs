//! Right histories pass, and a single wrong answer does not.

mod searched;
mod told;
