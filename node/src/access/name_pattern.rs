//! Names that a token grants: whole ones, beginnings, or all.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many patterns one grant may have.
const PATTERNS_MAX: usize = 64;
/// Characters of one pattern; as many as a peer id has.
const PATTERN_CHARS_MAX: usize = 256;

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
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(whole) => whole == name,
            Pattern::Beginning(beginning) => name.starts_with(beginning.as_str()),
        })
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
