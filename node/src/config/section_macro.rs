//! The table of keys: [`section!`] makes a struct of each section, its defaults, and the walk over its keys from which
//! everything else comes: the template, the reference, the names of variables and flags, hints and validation.
//!
//! ```text
//! section! { Http {
//!     /// What the key means, in one paragraph for the template.
//!     ///
//!     /// What the reference adds to it.
//!     backlog: u32 = 2048, 1..=65_535, "why the bounds are what they are" => check;
//! } within {
//!     /// What the section in this section is about.
//!     tls: PublicTls;
//! } }
//! ```
//!
//! Default, bounds, their reason and the check are optional; without a default it is that of the type.
//!
//! A derive such as `confique` has neither where a value came from, nor bounds, nor all mistakes at once.

use std::ops::{Deref, RangeBounds};

use super::value::{Value, bounds, shown};

/// A part of the configuration that has keys, or sections within.
pub(super) trait Section {
    /// Shows every key, in the order of the table, each section before its keys. `path` is that of this section.
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(Entry<'_>));
}

/// What a walk comes by. Names are dotted; `about` is the documentation as it is written.
pub(super) enum Entry<'a> {
    /// A section begins.
    Section { path: String, about: &'static str },
    /// A key, with its value and what is to be said of that.
    Key { name: String, about: &'static str, verdict: Verdict, value: &'a mut dyn Value },
}

/// What a value has to keep by itself, and does not.
#[derive(Default)]
pub(super) struct Verdict {
    /// What is admitted, if that is a range.
    pub(super) bounds: Option<String>,
    pub(super) wrong: Vec<String>,
}

impl Verdict {
    /// `value` has to be within `range`; `why` is for whoever wonders.
    pub(super) fn within<T: Value + PartialOrd>(
        mut self,
        value: &T,
        range: &impl RangeBounds<T>,
        why: &str,
    ) -> Self {
        let bounds = bounds(range);
        if !range.contains(value) {
            self.wrong.push(format!("must be {bounds}, not {}{why}", shown(&value.write())));
        }
        self.bounds = Some(bounds);
        self
    }

    /// `value` has to pass `check`, which says what is wrong with it.
    pub(super) fn by<T: Deref, I>(mut self, value: &T, check: impl Fn(&T::Target) -> I) -> Self
    where
        I: IntoIterator<Item = String>,
    {
        self.wrong.extend(check(value));
        self
    }
}

/// The dotted name of what is called `name` in the section `path`.
pub(super) fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

macro_rules! section {
    ($Section:ident {
        $(
            $(#[doc = $about:literal])*
            $key:ident: $type:ty $(= $default:expr)? $(, $bounds:expr $(, $why:literal)?)? $(=> $check:expr)?;
        )*
    } $(within {
        $( $(#[doc = $within:literal])* $inner:ident: $Inner:ty $(= $inner_default:expr)?; )*
    })?) => {
        /// The keys of a section; what it is for is said where it is a field.
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $( $(#[doc = $about])* pub $key: $type, )*
            $($( $(#[doc = $within])* pub $inner: $Inner, )*)?
        }

        impl Default for $Section {
            fn default() -> Self {
                Self {
                    $( $key: $crate::config::section_macro::or_default!($($default)?), )*
                    $($( $inner: $crate::config::section_macro::or_default!($($inner_default)?), )*)?
                }
            }
        }

        impl $crate::config::section_macro::Section for $Section {
            fn walk(&mut self, path: &str, visit: &mut dyn FnMut($crate::config::section_macro::Entry<'_>)) {
                $( visit($crate::config::section_macro::Entry::Key {
                    name: $crate::config::section_macro::dotted(path, stringify!($key)),
                    about: concat!($($about, "\n",)*),
                    verdict: $crate::config::section_macro::Verdict::default()
                        $(.within(&self.$key, &($bounds), concat!($(": ", $why)?)))?
                        $(.by(&self.$key, $check))?,
                    value: &mut self.$key,
                }); )*
                $($(
                    let inner = $crate::config::section_macro::dotted(path, stringify!($inner));
                    visit($crate::config::section_macro::Entry::Section { path: inner.clone(), about: concat!($($within, "\n",)*) });
                    self.$inner.walk(&inner, visit);
                )*)?
            }
        }
    };
}

macro_rules! or_default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

pub(super) use {or_default, section};
