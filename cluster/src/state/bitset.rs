//! A set of chunk indices.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

const WORD: u16 = u64::BITS as u16;

/// Indices below a total, one bit each. Up to 64 of them need no allocation; more share one until changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Bitset {
    Small(u64),
    Large(Arc<[u64]>),
}

impl Bitset {
    /// No index below `total`.
    pub(super) fn none(total: u16) -> Self {
        if total <= WORD {
            Self::Small(0)
        } else {
            Self::Large(vec![0; usize::from(total.div_ceil(WORD))].into())
        }
    }

    /// Every index below `total`.
    pub(super) fn all(total: u16) -> Self {
        let mut bits = Self::none(total);
        for (place, word) in bits.words_mut().iter_mut().enumerate() {
            let below = total.saturating_sub(place as u16 * WORD);
            *word = if below >= WORD { u64::MAX } else { (1 << below) - 1 };
        }
        bits
    }

    pub(super) fn get(&self, index: u16) -> bool {
        self.words()[usize::from(index / WORD)] >> (index % WORD) & 1 == 1
    }

    pub(super) fn set(&mut self, index: u16) {
        self.words_mut()[usize::from(index / WORD)] |= 1 << (index % WORD);
    }

    pub(super) fn count(&self) -> u16 {
        self.words().iter().map(|word| word.count_ones() as u16).sum()
    }

    /// The lowest index that is in here and not in `other`.
    pub(super) fn lowest_not_in(&self, other: &Self) -> Option<u16> {
        let pairs = self.words().iter().zip(other.words());
        let mut rest = pairs.enumerate().map(|(place, (word, without))| (place, word & !without));
        let (place, word) = rest.find(|(_, word)| *word != 0)?;
        Some(place as u16 * WORD + word.trailing_zeros() as u16)
    }

    /// All indices, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.words().iter().enumerate().flat_map(|(place, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as u16)?;
                rest &= rest - 1;
                Some(place as u16 * WORD + bit)
            })
        })
    }

    /// Inclusive ranges, ascending, none touching the next.
    pub(super) fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for index in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        ranges
    }

    /// Whether this is a set of indices below `total`, in the one form that has.
    pub(super) fn fits(&self, total: u16) -> bool {
        let form = match self {
            Self::Small(_) => total <= WORD,
            Self::Large(words) => total > WORD && words.len() == usize::from(total.div_ceil(WORD)),
        };
        form && self.lowest_not_in(&Self::all(total)).is_none()
    }

    fn words(&self) -> &[u64] {
        match self {
            Self::Small(word) => std::slice::from_ref(word),
            Self::Large(words) => words,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Small(word) => std::slice::from_mut(word),
            Self::Large(words) => Arc::make_mut(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_every_index_below_the_total() {
        for total in [1, 2, 63, 64, 65, 127, 128, 129, 2047, 2048] {
            let all = Bitset::all(total);
            assert_eq!(all.count(), total);
            assert_eq!(all.ranges(), vec![(0, total - 1)]);
            assert!(all.fits(total));
            assert!(total == 1 || !all.fits(total - 1), "total {total}");
        }
    }

    #[test]
    fn ranges_join_neighbours_over_word_ends() {
        let mut bits = Bitset::none(200);
        for index in [0, 62, 63, 64, 65, 128, 199] {
            bits.set(index);
            assert!(bits.get(index));
        }
        assert_eq!(bits.ranges(), vec![(0, 0), (62, 65), (128, 128), (199, 199)]);
        assert_eq!(bits.iter().count(), 7);
    }

    #[test]
    fn the_lowest_missing_index_is_found_in_any_word() {
        let mut received = Bitset::none(200);
        let mut delivered = Bitset::none(200);
        assert_eq!(received.lowest_not_in(&delivered), None);
        received.set(3);
        received.set(130);
        assert_eq!(received.lowest_not_in(&delivered), Some(3));
        delivered.set(3);
        assert_eq!(received.lowest_not_in(&delivered), Some(130));
    }
}
