//! Names that a token grants: whole ones, beginnings, or all.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many patterns one grant may have.
const PATTERNS_MAX: usize = 64;
/// Characters of one pattern; as many as a peer id has.
const PATTERN_CHARS_MAX: usize = 256;

/// What a peer id of the operator's backend begins with. Clients may send to it, and not from it.
pub const BACKEND: &str = "backend:";

/// Whether a peer id is the backend's.
pub fn is_backend(peer: &str) -> bool {
    peer.starts_with(BACKEND)
}

/// Which names are granted. Empty: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant(Vec<Pattern>);

/// `name`, `beginning*` or `*`. A star anywhere else is an ordinary character of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Beginning(String),
}

/// The list is longer than anybody needs, or has an empty pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a grant has at most {PATTERNS_MAX} patterns of 1 to {PATTERN_CHARS_MAX} characters")]
pub struct Unfit;

impl Grant {
    /// Every name.
    pub fn all() -> Self {
        Self(vec![Pattern::Beginning(String::new())])
    }

    /// Every name, and those of the backend.
    pub fn of_server() -> Self {
        Self(["", BACKEND].map(|beginning| Pattern::Beginning(beginning.to_owned())).into())
    }

    /// Reads patterns.
    ///
    /// # Errors
    /// If there are too many, or one is empty or too long.
    pub fn of<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, Unfit> {
        let mut read = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let fits = (1..=PATTERN_CHARS_MAX).contains(&pattern.chars().count());
            if !fits || read.len() == PATTERNS_MAX {
                return Err(Unfit);
            }
            read.push(match pattern.strip_suffix('*') {
                Some(beginning) => Pattern::Beginning(beginning.to_owned()),
                None => Pattern::Name(pattern.to_owned()),
            });
        }
        Ok(Self(read))
    }

    /// Whether `name` is granted.
    pub fn covers(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.covers(name))
    }

    /// Whether a peer id of the backend is granted, by a pattern that is about these alone: who may act as every peer is not
    /// the backend.
    pub fn covers_backend(&self, peer: &str) -> bool {
        self.0.iter().any(|pattern| is_backend(pattern.text()) && pattern.covers(peer))
    }
}

impl Pattern {
    fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Beginning(text) => text,
        }
    }

    fn covers(&self, name: &str) -> bool {
        match self {
            Self::Name(whole) => whole == name,
            Self::Beginning(beginning) => name.starts_with(beginning.as_str()),
        }
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.0.iter().map(|pattern| match pattern {
            Pattern::Name(whole) => whole.clone(),
            Pattern::Beginning(beginning) => format!("{beginning}*"),
        }))
    }
}

/// A list of patterns, or one alone.
impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            List(Vec<String>),
        }
        match Written::deserialize(from)? {
            Written::One(pattern) => Self::of([pattern]),
            Written::List(patterns) => Self::of(patterns),
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_itself_and_a_beginning_is_all_that_begins_so() {
        let grant = Grant::of(["alice", "team-7-*"]).unwrap();
        for covered in ["alice", "team-7-", "team-7-bob"] {
            assert!(grant.covers(covered), "{covered}");
        }
        for other in ["alice2", "Alice", "team-7", "team-70-bob", "", "*"] {
            assert!(!grant.covers(other), "{other}");
        }
    }

    #[test]
    fn a_star_is_everything_and_nothing_is_nothing() {
        assert!(Grant::of(["*"]).unwrap().covers("anything"));
        assert_eq!(Grant::of(["*"]).unwrap(), Grant::all());
        assert!(!Grant::default().covers("anything"));
    }

    #[test]
    fn the_backend_s_are_granted_by_what_names_them_alone() {
        for patterns in [&["*"][..], &["back*", "b*"], &["backend*"], &["backend:shop2"], &[]] {
            assert!(!Grant::of(patterns).unwrap().covers_backend("backend:shop"), "{patterns:?}");
        }
        for patterns in [&["backend:*"][..], &["x", "backend:shop"], &["backend:sh*"]] {
            assert!(Grant::of(patterns).unwrap().covers_backend("backend:shop"), "{patterns:?}");
        }
        assert!(Grant::of_server().covers_backend("backend:shop") && Grant::of_server().covers("alice"));
        assert!(!Grant::all().covers_backend("backend:shop"));
    }

    #[test]
    fn a_star_in_the_middle_means_itself() {
        let grant = Grant::of(["a*b"]).unwrap();
        assert!(grant.covers("a*b") && !grant.covers("axb"));
    }

    #[test]
    fn grants_are_bounded() {
        assert!(Grant::of(vec!["x"; PATTERNS_MAX]).is_ok());
        assert_eq!(Grant::of(vec!["x"; PATTERNS_MAX + 1]), Err(Unfit));
        assert_eq!(Grant::of(["x".repeat(PATTERN_CHARS_MAX + 1)]), Err(Unfit));
        assert_eq!(Grant::of([""]), Err(Unfit));
    }

    #[test]
    fn a_single_pattern_may_stand_without_a_list() {
        let read = |json: &str| serde_json::from_str::<Grant>(json).ok();
        assert_eq!(read(r#""alice""#), Grant::of(["alice"]).ok());
        assert_eq!(read(r#"["alice","b*"]"#), Grant::of(["alice", "b*"]).ok());
        assert_eq!(read(r#"[1]"#), None);
        assert_eq!(read(r#"{"a":1}"#), None);
    }
}
