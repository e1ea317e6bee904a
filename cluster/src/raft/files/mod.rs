//! The real disk: a directory with an identity, a log and snapshots.
//!
//! ```text
//! identity          which node of which cluster this is, and the number that binds the id to this disk
//! log/r-….wal       the log, in files of 16 MiB
//! snapshot/<index>-<term>.snapshot
//! snapshot/*.part   what was being written when the node died; removed at the next start
//! ```
//!
//! The identity is written last, so that whoever has one has a log, too.

mod deferred_delete;
mod identity;
mod log;
mod page_cache;
mod private;
#[cfg(test)]
mod refusal_tests;
mod snapshot;
mod snapshot_pacing;
mod tail_recovery;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk_traits::Disk;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused. What is on the disk is as it was.
    #[error("{path}: {error}. {}", advice(error))]
    Io {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The directory belongs to another node or cluster.
    #[error(
        "{path} belongs to node {node} of cluster {cluster:?}, not to node {wanted} of {wanted_cluster:?}"
    )]
    Foreign {
        /// Which directory.
        path: String,
        /// Whose it is.
        node: u64,
        /// Whose it is.
        cluster: String,
        /// Who wants it.
        wanted: u64,
        /// Who wants it.
        wanted_cluster: String,
    },
    /// The directory was written by a build with another format.
    #[error(
        "{path} is in format {found}, and this build reads format {wanted}. There is no conversion, since what is stored \
         lapses within minutes. Either go on with the build that wrote it, or stop all nodes, empty the data directory \
         of each and start them with this build"
    )]
    Format {
        /// Which directory.
        path: String,
        /// Its format.
        found: u8,
        /// The format read.
        wanted: u8,
    },
    /// The identity, the log or the snapshot fails its checksum. This node must not serve or vote with it.
    #[error("{path} is damaged ({error}). {}", super::disk_traits::WHAT_TO_DO)]
    Damaged {
        /// Which file.
        path: String,
        /// How it shows.
        error: String,
    },
    /// Something has a name as the log's or the snapshots' files have them, and is none of them.
    #[error(
        "{path} is not conclave's: if somebody put it there, move it out of the data directory; if it is one of its files \
         under another name, give it its name back"
    )]
    Stray {
        /// Which file.
        path: String,
    },
}

/// What helps against an error of the system.
fn advice(error: &io::Error) -> &'static str {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "Nothing is damaged: give the user that runs conclave the directory and all that is in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "Nothing is damaged: mount the file system so that it can be written"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Nothing is damaged: make room on the file system"
        }
        io::ErrorKind::WouldBlock => "Nothing is damaged: another process uses the directory; end it first",
        io::ErrorKind::NotADirectory => "Nothing is damaged: have a directory there, and start again",
        _ if errno.is_some_and(out_of_files) => {
            "Nothing is damaged: raise the limit of open files (ulimit -n, LimitNOFILE=)"
        }
        _ if errno == Some(rustix::io::Errno::IO) => {
            "The disk itself does not read or write; the kernel's log says more"
        }
        _ => "Nothing was found damaged: let the file system do what it refused, and start again",
    }
}

fn out_of_files(errno: rustix::io::Errno) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].contains(&errno)
}

/// Tells bytes that are wrong from a system that does not hand them out: only the first is damage.
fn damage_or_io(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| {
        let path = path.display().to_string();
        if is_damage(&error) {
            Error::Damaged { path, error: error.to_string() }
        } else {
            Error::Io { path, error }
        }
    }
}

/// Whether an error says that what was read is not what was written.
pub(super) fn is_damage(error: &io::Error) -> bool {
    let content = matches!(
        error.kind(),
        io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidInput
            // The log's library says so of records that do not follow each other.
            | io::ErrorKind::Other
    );
    content && error.raw_os_error().is_none()
}

fn stray(path: &Path) -> Error {
    Error::Stray { path: path.display().to_string() }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::Io { path: path.display().to_string(), error }
}

/// Fails if another process has the log. It is looked at before anything is opened: opening cuts what a torn write left at
/// the end of the log, which in the log of a node that runs is a write on its way.
fn refuse_in_use(dir: &Path) -> Result<(), Error> {
    let path = dir.join("log").join("LOCK");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(&path)(error)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let error = io::Error::new(io::ErrorKind::WouldBlock, "it is in use");
            Err(io_error(dir)(error))
        }
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// Opens a node's directory, or makes it.
pub fn open(dir: &Path, node_id: u64, cluster: &str) -> Result<Disk, Error> {
    private::root(dir).map_err(io_error(dir))?;
    refuse_in_use(dir)?;
    let storage = identity::open(dir, node_id, cluster)?;
    let (log_dir, snapshot_dir) = (dir.join("log"), dir.join("snapshot"));
    if storage.is_some() {
        log::expect_begun(&log_dir)?;
    }
    let disposal = deferred_delete::Disposal::start().map_err(io_error(dir))?;
    private::directory(&log_dir).map_err(io_error(&log_dir))?;
    private::directory(&snapshot_dir).map_err(io_error(&snapshot_dir))?;
    let log = log::FileLog::open(&log_dir, disposal.clone())?;
    let snapshots = snapshot::FileSnapshots::open(&snapshot_dir, disposal)?;
    let mut disk = Disk { storage: 0, log: Box::new(log), snapshots: Arc::new(snapshots) };
    expect_purged(&disk, &snapshot_dir)?;
    disk.storage = match storage {
        Some(storage) => storage,
        None if disk.is_blank() => {
            // Whoever has an identity has a log; see above.
            log::FileLog::sync_begun(&log_dir)?;
            identity::create(dir, node_id, cluster)?
        }
        None => {
            let path = dir.join("identity").display().to_string();
            let error = "it is gone, and the log beside it is some node's".to_owned();
            return Err(Error::Damaged { path, error });
        }
    };
    Ok(disk)
}

/// Fails if a snapshot is gone: the log begins where one ends.
fn expect_purged(disk: &Disk, snapshot_dir: &Path) -> Result<(), Error> {
    let (purged, snapshot) = (disk.log.purged(), disk.snapshots.current());
    let last = snapshot.and_then(|snapshot| snapshot.meta().last);
    if let Some(purged) = purged.filter(|purged| last.is_none_or(|last| last.index < purged.index)) {
        let path = snapshot_dir.display().to_string();
        let error = format!("the log begins behind entry {}, and no snapshot goes that far", purged.index);
        return Err(Error::Damaged { path, error });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn opened(dir: &Path) -> Result<Disk, Error> {
        open(dir, 1, "blue")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_is_its_owners_alone_though_it_was_everybodys() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        drop(opened(&dir).unwrap());
        let files = || {
            ["", "log", "snapshot"].map(|folder| dir.join(folder)).into_iter().flat_map(|folder| {
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
            })
        };
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        for path in files() {
            let open = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
        }
        drop(opened(&dir).unwrap());
        assert_eq!(mode(&dir), 0o700);
        assert!(files().count() >= 4, "identity, log, snapshot, and a file of the log");
        for path in files() {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), wanted, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_with_other_things_in_it_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/bin/sh").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for _ in 0..2 {
            drop(opened(dir.path()).unwrap());
            assert_eq!((mode(dir.path()), mode(&script)), (0o755, 0o755));
            assert_eq!((mode(&dir.path().join("log")), mode(&dir.path().join("identity"))), (0o700, 0o600));
        }
    }

    #[test]
    fn any_byte_of_the_identity_that_changed_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        drop(opened(dir.path()).unwrap());
        let path = dir.path().join("identity");
        let whole = fs::read(&path).unwrap();
        let mut changed: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        // The first byte is the format, which is told apart from damage.
        changed.extend((8..whole.len() * 8).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }));
        for bytes in changed {
            fs::write(&path, &bytes).unwrap();
            let error = opened(dir.path()).err().expect("it is refused");
            assert!(matches!(error, Error::Damaged { .. }), "{bytes:?}: {error}");
        }
        fs::write(&path, &whole).unwrap();
        opened(dir.path()).unwrap();
    }

    #[test]
    fn the_identity_of_an_older_version_is_not_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity"), [1, 1, 4, b'b', b'l', b'u', b'e', 9]).unwrap();
        let error = opened(dir.path()).err().expect("it is refused");
        assert!(matches!(error, Error::Format { found: 1, .. }), "{error}");
        assert!(!error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn a_system_that_refuses_is_not_called_damage() {
        use rustix::io::Errno;
        let path = Path::new("/data/log");
        for (errno, word) in [
            (Errno::MFILE, "ulimit"),
            (Errno::NFILE, "ulimit"),
            (Errno::ROFS, "mount"),
            (Errno::ACCESS, "user"),
            (Errno::PERM, "user"),
            (Errno::NOSPC, "room"),
            (Errno::IO, "kernel's log"),
            (Errno::NOTDIR, "start again"),
        ] {
            let error = damage_or_io(path)(io::Error::from_raw_os_error(errno.raw_os_error()));
            let text = error.to_string();
            assert!(matches!(error, Error::Io { .. }), "{text}");
            assert!(text.contains(word) && !text.contains("is damaged ("), "{text}");
            assert!(!text.contains("empty the directory"), "{text}");
        }
        let torn = io::Error::new(io::ErrorKind::InvalidData, "checksum mismatch");
        assert!(damage_or_io(path)(torn).to_string().contains("is damaged"));
    }

    /// The library of the log reports errors of the system in its own words; what matters is that their kind is kept.
    #[test]
    fn a_log_without_enough_descriptors_or_on_a_file_in_the_way_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        drop(opened(dir.path()).unwrap());
        fs::remove_dir_all(dir.path().join("snapshot")).unwrap();
        fs::write(dir.path().join("snapshot"), "in the way").unwrap();
        let error = opened(dir.path()).err().expect("it is refused");
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}
