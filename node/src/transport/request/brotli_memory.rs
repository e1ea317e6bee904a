//! What a brotli decoder may allocate: a stream says in a few bytes how much it wants, and may lie.

use std::cell::Cell;
use std::rc::Rc;

use brotli::enc::StandardAlloc;
use brotli::{Allocator, SliceWrapper as _};

/// Bytes for all that is no window: prefix codes and their maps. Encoders spend more of them on longer bodies; the format would
/// allow 3 MiB for the shortest.
const CODES_BYTES: usize = 1 << 20;

/// A decoder's allocator, which gives nothing beyond its bound. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct BrotliMemory(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    left: Cell<usize>,
    exhausted: Cell<bool>,
}

impl BrotliMemory {
    /// Enough for whatever means at most `plain_bytes_max` bytes: the window is a power of two, less than twice as large as
    /// what it holds, and while it grows, half of it is there beside it.
    pub(super) fn for_plain(plain_bytes_max: usize) -> Self {
        let left = plain_bytes_max.saturating_mul(3).saturating_add(CODES_BYTES);
        Self(Rc::new(Inner { left: Cell::new(left), exhausted: Cell::new(false) }))
    }

    /// Whether more was asked for than there was.
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.exhausted.get()
    }
}

impl<T: Clone + Default> Allocator<T> for BrotliMemory {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    /// The decoder takes an empty cell for a refusal.
    fn alloc_cell(&mut self, len: usize) -> Self::AllocatedMemory {
        let left = len.checked_mul(size_of::<T>()).and_then(|bytes| self.0.left.get().checked_sub(bytes));
        let Some(left) = left else {
            self.0.exhausted.set(true);
            return Self::AllocatedMemory::default();
        };
        self.0.left.set(left);
        StandardAlloc::default().alloc_cell(len)
    }

    fn free_cell(&mut self, cell: Self::AllocatedMemory) {
        self.0.left.set(self.0.left.get() + size_of_val(cell.slice()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_can_be_had_again_and_no_more() {
        let mut memory = BrotliMemory::for_plain(0);
        let all = Allocator::<u8>::alloc_cell(&mut memory, CODES_BYTES);
        assert_eq!((all.slice().len(), memory.is_exhausted()), (CODES_BYTES, false));
        memory.free_cell(all);
        let half = Allocator::<u32>::alloc_cell(&mut memory, CODES_BYTES / 8);
        assert_eq!((half.slice().len(), memory.is_exhausted()), (CODES_BYTES / 8, false));
        let more = Allocator::<u8>::alloc_cell(&mut memory, CODES_BYTES / 2 + 1);
        assert!(more.slice().is_empty() && memory.clone().is_exhausted());
        assert!(Allocator::<u32>::alloc_cell(&mut memory, usize::MAX).slice().is_empty());
    }
}
