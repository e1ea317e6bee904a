//! Lets the system's page cache go of what hardly anybody will read again.
//!
//! What was written stays in memory until memory runs short. A log and its snapshots so take, page by page, all there is,
//! and each write begins with a page that nobody used for long: dear everywhere, dearest on a virtual machine whose
//! host takes unused pages back. Pages that are let go at once are those the next write gets.

use std::fs::File;
use std::ops::Range;

/// Of the log, what a follower that lags a little may still ask for.
const KEPT_BYTES: u64 = 32 << 20;
/// Bytes that are let go at once.
pub(super) const STEP_BYTES: u64 = 4 << 20;

/// Drops the pages of a part of a file that is on the disk already. Others stay, and so does an unfinished page at
/// either end. It changes nothing but how long the next read takes, so a system that refuses is not argued with.
#[cfg(target_os = "linux")]
pub(super) fn forget(file: &File, range: &Range<u64>) {
    use rustix::fs::{Advice, fadvise};
    if let Some(len) = std::num::NonZeroU64::new(range.end.saturating_sub(range.start)) {
        let _ = fadvise(file, range.start, Some(len), Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn forget(_: &File, _: &Range<u64>) {}

/// Which part of a log that grows is to be forgotten next.
#[derive(Debug, Default)]
pub(super) struct Trail {
    forgotten: u64,
}

impl Trail {
    /// What lies far enough behind `end`, once it is worth the trouble. Each byte comes up once.
    pub(super) fn next(&mut self, end: u64) -> Option<Range<u64>> {
        let upto = end.saturating_sub(KEPT_BYTES);
        if upto < self.forgotten + STEP_BYTES {
            return None;
        }
        let range = self.forgotten..upto;
        self.forgotten = upto;
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_kept_and_the_rest_comes_up_once() {
        let mut trail = Trail::default();
        let (mut end, mut upto) = (0, 0);
        for len in (0..1_000).map(|n| n * 7_919 % (3 * STEP_BYTES)) {
            end += len;
            let Some(range) = trail.next(end) else {
                assert!(end - upto < KEPT_BYTES + STEP_BYTES, "{end} {upto}");
                continue;
            };
            assert_eq!(range, upto..end - KEPT_BYTES);
            upto = range.end;
        }
        assert!(upto > 100 * STEP_BYTES);
        assert_eq!(trail.next(end / 2), None, "a log that was cut at its end is none the shorter for it");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_forgotten_leaves_the_cache_and_nothing_else_does() {
        use std::io::Write as _;

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 2 * STEP_BYTES as usize]).unwrap();
        file.sync_data().unwrap();
        forget(&file, &(0..STEP_BYTES));
        let Some(first) = is_cached(&file, STEP_BYTES / 2) else {
            return;
        };
        assert!(!first);
        assert_eq!(is_cached(&file, STEP_BYTES * 3 / 2), Some(true));
    }

    /// Whether a byte can be read without the disk. `None` where the file system cannot say, as one in memory.
    #[cfg(target_os = "linux")]
    fn is_cached(file: &File, offset: u64) -> Option<bool> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};

        match preadv2(file, &mut [std::io::IoSliceMut::new(&mut [0])], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Some(read == 1),
            Err(Errno::AGAIN) => Some(false),
            Err(Errno::OPNOTSUPP) => None,
            Err(error) => panic!("{error}"),
        }
    }
}
