//! Doubles: mistakes that are planted on purpose, so that tests can show that they are noticed.
//!
//! There are none without the feature `doubles`: [`planted`] is `false` then, and what hangs on it is not compiled. With the
//! feature, `CONCLAVE_DOUBLE` names the mistake that this process makes.

#[cfg(all(feature = "doubles", not(debug_assertions)))]
compile_error!("the feature `doubles` plants mistakes for tests: it is no part of a release");

/// A mistake that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "doubles", derive(strum::EnumString, strum::VariantArray))]
#[cfg_attr(not(feature = "doubles"), allow(unreachable_pub, reason = "public with the feature alone"))]
pub enum Double {
    /// A cell does not compare the epochs of a slot: what another owner says late is believed.
    NoEpoch,
    /// A cell serves a slot as soon as its first part has come.
    ServesFirstPart,
    /// A cell that gave a slot away forgets that it did, and serves it again.
    ForgetsMoved,
    /// Tokens do not lapse when their window ends.
    NoFence,
    /// A node keeps the tokens that it gives to another one.
    GiftKept,
    /// A host notes for what a node waits after it has answered that node, with what the node says next.
    WatchesLate,
}

/// Whether this process makes the mistake.
#[cfg(not(feature = "doubles"))]
#[inline(always)]
pub(crate) const fn planted(_: Double) -> bool {
    false
}

#[cfg(feature = "doubles")]
pub(crate) use switches::planted;
#[cfg(feature = "doubles")]
pub use switches::{VARIABLE, announce};

#[cfg(feature = "doubles")]
mod switches {
    use std::sync::OnceLock;

    use strum::VariantArray as _;

    use super::Double;

    /// The variable that names the double.
    pub const VARIABLE: &str = "CONCLAVE_DOUBLE";

    /// Says that this build may make mistakes, and which one it makes.
    ///
    /// # Panics
    /// If [`VARIABLE`] names no double.
    pub fn announce() {
        tracing::warn!(planted = ?chosen(), "this build has the feature `doubles`: it makes mistakes on purpose, for tests alone");
    }

    /// Whether this process makes the mistake.
    pub(crate) fn planted(double: Double) -> bool {
        chosen() == Some(double)
    }

    fn chosen() -> Option<Double> {
        static CHOSEN: OnceLock<Option<Double>> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            let double = name.parse().unwrap_or_else(|_| {
                panic!("{VARIABLE} is {name:?}, which is none of {:?}", Double::VARIANTS)
            });
            Some(double)
        })
    }
}
