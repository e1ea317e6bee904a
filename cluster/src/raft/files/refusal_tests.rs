//! Directories of which something is gone, damaged or not ours: refused in a sentence that names it, and left as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::{Error, open};
use crate::raft::disk_traits::{Disk, LogId, Payload, Record, SnapshotMeta, Vote};

const WHAT_TO_DO: &str = "remove this node from the cluster, empty the directory";

fn opened(dir: &Path) -> Result<Disk, Error> {
    open(dir, 1, "blue")
}

fn refused(dir: &Path) -> String {
    opened(dir).err().expect("it is refused").to_string()
}

fn flush(disk: &mut Disk) {
    let (sender, receiver) = mpsc::channel();
    disk.log.flush(Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver.recv().unwrap().unwrap();
}

/// Fills a log with so many entries of a mebibyte: sixteen to a file.
fn fill(dir: &Path, entries: u64) {
    let mut disk = opened(dir).unwrap();
    disk.log.save_vote(Vote { term: 1, node: 1, committed: true }).unwrap();
    for index in 0..entries {
        let payload = Payload::Proposal { header: vec![7; 1 << 20].into(), bodies: Vec::new() };
        disk.log.append(vec![Record { id: LogId { term: 1, index }, payload }]).unwrap();
    }
    flush(&mut disk);
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).collect();
    files.sort();
    files
}

/// What lies in a folder, and how long it is.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut listing: Vec<_> = entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect();
    listing.sort();
    listing
}

/// Puts something in the place of a file for one start, and returns how the directory was refused.
fn with_replaced(dir: &Path, file: &Path, replace: impl FnOnce(&Path, &[u8])) -> String {
    let aside = dir.join("aside");
    fs::rename(file, &aside).unwrap();
    replace(file, &fs::read(&aside).unwrap());
    let before = listing(&dir.join("log"));
    let error = refused(dir);
    assert_eq!(listing(&dir.join("log")), before, "nothing was touched");
    if file.is_dir() {
        fs::remove_dir(file).unwrap();
    }
    fs::rename(&aside, file).unwrap();
    error
}

#[test]
fn a_log_without_one_of_its_files_or_with_a_damaged_one_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 40);
    let files = log_files(dir.path());
    assert_eq!(files.len(), 3);
    let dir = dir.path();
    for at in [0, 1] {
        let (file, path) = (&files[at], files[at].display().to_string());
        let empty = with_replaced(dir, file, |path, _| fs::write(path, "").unwrap());
        let short =
            with_replaced(dir, file, |path, whole| fs::write(path, &whole[..whole.len() - 9]).unwrap());
        let flipped = with_replaced(dir, file, |path, whole| {
            let mut bytes = whole.to_vec();
            bytes[whole.len() / 2] ^= 1;
            fs::write(path, bytes).unwrap();
        });
        let folder = with_replaced(dir, file, |path, _| fs::create_dir(path).unwrap());
        for (error, word) in
            [(empty, "it is empty"), (short, "bytes"), (flipped, "checksum"), (folder, "no file")]
        {
            assert!(error.starts_with(&path) && error.contains(word), "{error}");
            assert!(error.contains(WHAT_TO_DO), "{error}");
        }
        // What is gone is told by the one beside it.
        let gone = with_replaced(dir, file, |_, _| {});
        let beside = if at == 0 { &files[1] } else { &files[0] };
        assert!(gone.starts_with(&beside.display().to_string()) && gone.contains(WHAT_TO_DO), "{gone}");
    }
    assert_eq!(opened(dir).unwrap().log.last().unwrap().index, 39, "it was whole all the time");
}

#[test]
fn a_file_that_was_begun_before_the_last_write_to_the_one_before_it_was_torn_goes() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 20);
    let files = log_files(dir.path());
    let [first, second] = &files[..] else { panic!("{files:?}") };
    for unwritten in [vec![], vec![0; 4096]] {
        fs::write(second, unwritten).unwrap();
        let bytes = fs::metadata(first).unwrap().len();
        fs::OpenOptions::new().write(true).open(first).unwrap().set_len(bytes - 9).unwrap();
        let disk = opened(dir.path()).unwrap();
        let last = disk.log.last().unwrap().index;
        assert!((10..16).contains(&last), "{last}");
        assert_eq!(disk.log.read(0..last + 1, usize::MAX).unwrap().len() as u64, last + 1);
    }
}

#[test]
fn a_file_of_somebody_else_in_the_log_is_not_taken_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1);
    let stray = dir.path().join("log/r-copy.wal");
    fs::write(&stray, "somebody's").unwrap();
    let error = refused(dir.path());
    assert!(error.starts_with(&stray.display().to_string()) && error.contains("move it out"), "{error}");
    assert_eq!(fs::read(&stray).unwrap(), b"somebody's");

    let note = stray.with_extension("note");
    fs::rename(&stray, &note).unwrap();
    assert_eq!(opened(dir.path()).unwrap().log.last().unwrap().index, 0);
    assert!(note.exists());
}

#[test]
fn a_node_that_has_an_identity_and_no_log_is_refused() {
    type Loss = fn(&Path);
    let losses: [(Loss, &str); 3] = [
        (|dir| fs::remove_dir_all(dir.join("log")).unwrap(), "log is damaged (the log is gone"),
        (|dir| fs::remove_file(&log_files(dir)[0]).unwrap(), "log is damaged (the log is gone"),
        (|dir| fs::write(&log_files(dir)[0], "").unwrap(), ".wal is damaged (it is empty"),
    ];
    for (lose, word) in losses {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 1);
        lose(dir.path());
        for _ in 0..2 {
            let error = refused(dir.path());
            assert!(error.contains(word) && error.contains(WHAT_TO_DO), "{error}");
        }
    }
}

#[test]
fn a_log_without_an_identity_is_refused_unless_nothing_was_written_to_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()).unwrap());
    let identity = dir.path().join("identity");
    fs::remove_file(&identity).unwrap();
    fill(dir.path(), 1);
    fs::remove_file(&identity).unwrap();
    let error = refused(dir.path());
    assert!(error.starts_with(&identity.display().to_string()) && error.contains(WHAT_TO_DO), "{error}");
}

#[tokio::test]
async fn a_log_that_was_cut_behind_a_snapshot_is_refused_without_it() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 3);
    let mut disk = opened(dir.path()).unwrap();
    let last = LogId { term: 1, index: 1 };
    let meta = SnapshotMeta { last: Some(last), ..Default::default() };
    disk.snapshots.create(meta, Box::new(|out| out.write_all(b"content"))).await.unwrap();
    disk.log.purge(last).unwrap();
    flush(&mut disk);
    drop(disk);
    drop(opened(dir.path()).unwrap());

    fs::remove_dir_all(dir.path().join("snapshot")).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("snapshot is damaged (the log begins behind entry 1"), "{error}");
}

#[tokio::test]
async fn what_is_no_snapshot_is_refused_by_its_name_or_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = opened(dir.path()).unwrap();
    disk.snapshots.create(SnapshotMeta::default(), Box::new(|out| out.write_all(b"content"))).await.unwrap();
    drop(disk);
    let folder = dir.path().join("snapshot");
    let whole = listing(&folder)[0].0.clone();

    let (note, part) = (folder.join("note"), folder.join("built.part"));
    fs::create_dir(&note).unwrap();
    fs::write(&part, "half").unwrap();
    drop(opened(dir.path()).unwrap());
    assert!(note.exists() && !part.exists() && whole.exists());

    let aside = dir.path().join("aside");
    fs::rename(&whole, &aside).unwrap();
    fs::create_dir(&whole).unwrap();
    assert!(refused(dir.path()).starts_with(&whole.display().to_string()));
    fs::remove_dir(&whole).unwrap();
    fs::write(&whole, "").unwrap();
    let error = refused(dir.path());
    assert!(error.starts_with(&whole.display().to_string()) && error.contains(WHAT_TO_DO), "{error}");
    fs::rename(&aside, &whole).unwrap();
    fs::copy(&whole, folder.join("copy.snapshot")).unwrap();
    assert!(refused(dir.path()).contains("copy.snapshot is not conclave's"));
}
