//! Notices when a file changed, by looking: there is no notification that holds for every file system and for the
//! symbolic links by which container platforms swap secrets.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// A revocation must be known within a second of the file's change.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A file that changes with every look is read all the same after so many: it is appended to, or never at rest.
const UNREST_MAX: usize = 3;

/// What can be seen of a file without reading it. Its time and its length can be the old one's (`cp -p`, `rsync -t`); its
/// number and the time of its last change of any kind cannot be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look(Option<(SystemTime, u64, Identity)>);

#[cfg(unix)]
type Identity = (u64, u64, i64, i64);
#[cfg(not(unix))]
type Identity = ();

/// Calls `read_again` whenever one of the files changed, and whenever `asked` does. Runs until it is dropped.
pub(crate) async fn whenever_changed<F: Future<Output = ()>>(
    paths: Vec<PathBuf>,
    mut asked: watch::Receiver<u64>,
    mut read_again: impl FnMut() -> F,
) {
    if paths.is_empty() {
        return std::future::pending().await;
    }
    let seen = look(paths.clone()).await;
    // What changed between the first reading and the first look is not missed.
    read_again().await;
    let mut unrest = Unrest { seen: seen.clone(), last: seen, changes: 0 };
    loop {
        let was_asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            Ok(()) = asked.changed() => true,
        };
        if unrest.is_due(look(paths.clone()).await) || was_asked {
            unrest.read();
            read_again().await;
        }
    }
}

/// When changed files are read. One that is being written is not read before it is at rest: half of a list would be taken
/// for all of it.
struct Unrest {
    /// How the files were when they were read.
    seen: Vec<Look>,
    last: Vec<Look>,
    /// Looks in a row that saw a change.
    changes: usize,
}

impl Unrest {
    fn is_due(&mut self, now: Vec<Look>) -> bool {
        self.changes = if now == self.last { 0 } else { self.changes + 1 };
        self.last = now;
        self.last != self.seen && (self.changes == 0 || self.changes > UNREST_MAX)
    }

    fn read(&mut self) {
        self.seen.clone_from(&self.last);
        self.changes = 0;
    }
}

async fn look(paths: Vec<PathBuf>) -> Vec<Look> {
    let looked = tokio::task::spawn_blocking(move || paths.iter().map(|path| look_at(path)).collect()).await;
    looked.unwrap_or_default()
}

fn look_at(path: &Path) -> Look {
    let seen = std::fs::metadata(path)
        .and_then(|metadata| Ok((metadata.modified()?, metadata.len(), identity(&metadata))));
    Look(seen.ok())
}

#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> Identity {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_in_the_place_of_another_is_seen_though_time_and_length_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (path, fresh) = (folder.path().join("list"), folder.path().join("fresh"));
        fs::write(&path, "sub alice").unwrap();
        fs::write(&fresh, "sub bobby").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&fresh).unwrap().set_modified(time).unwrap();
        let before = look_at(&path);
        fs::rename(&fresh, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
        assert_ne!(look_at(&path), before);
    }

    #[test]
    fn a_file_that_is_overwritten_is_seen_though_its_time_is_put_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "sub alice").unwrap();
        let (before, time) = (look_at(file.path()), fs::metadata(file.path()).unwrap().modified().unwrap());
        fs::write(file.path(), "sub bobby").unwrap();
        fs::File::options().write(true).open(file.path()).unwrap().set_modified(time).unwrap();
        assert_ne!(look_at(file.path()), before);
    }

    #[test]
    fn files_that_are_being_written_are_read_when_they_are_at_rest() {
        let look = |len| vec![Look(Some((SystemTime::UNIX_EPOCH, len, identity_of(len))))];
        let mut unrest = Unrest { seen: look(0), last: look(0), changes: 0 };
        assert!(!unrest.is_due(look(0)));
        assert!(!unrest.is_due(look(1)), "it may be half of it");
        assert!(!unrest.is_due(look(2)));
        assert!(unrest.is_due(look(2)));
        unrest.read();
        assert!(!unrest.is_due(look(2)));
        let due: Vec<_> = (3..9).filter(|len| unrest.is_due(look(*len))).collect();
        assert_eq!(due, [6, 7, 8], "one that is never at rest is read in bounded time");
    }

    #[cfg(unix)]
    fn identity_of(inode: u64) -> Identity {
        (0, inode, 0, 0)
    }

    #[cfg(not(unix))]
    fn identity_of(_: u64) -> Identity {}
}
