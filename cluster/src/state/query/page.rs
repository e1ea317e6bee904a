//! Part of a queue or a history.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where in a queue or a history to begin, and how much to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The number that is the last one known.
    pub after: u64,
    /// At most so many.
    pub count_max: usize,
    /// At most so many bytes, but at least one.
    pub bytes_max: usize,
}

impl Page {
    /// Takes what fits from what begins behind `after`.
    pub(in crate::state) fn take<'a, T: 'a>(
        &self,
        things: impl Iterator<Item = &'a Arc<T>>,
        len: impl Fn(&T) -> usize,
    ) -> Vec<Arc<T>> {
        let mut bytes = 0;
        let fits = |(place, thing): &(usize, &'a Arc<T>)| {
            bytes += len(thing);
            *place == 0 || bytes <= self.bytes_max
        };
        let taken = things.take(self.count_max).enumerate().take_while(fits);
        taken.map(|(_, thing)| thing.clone()).collect()
    }
}
