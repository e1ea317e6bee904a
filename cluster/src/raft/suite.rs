//! openraft's own suite for stores, run on the real disk, and what it does not ask: restarts and damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{StorageError, Vote};
use tempfile::TempDir;

use super::applied_state::Replica;
use super::disk_traits::Disk;
use super::files;
use super::log_storage::Log;
use super::state_machine::Machine;
use super::types::TypeConfig;

struct Builder;

impl StoreBuilder<TypeConfig, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = stores(files::open(dir.path(), 1, "suite").unwrap());
        Ok((dir, log, machine))
    }
}

fn stores(disk: Disk) -> (Log, Machine) {
    let log = Log::new(disk.log);
    let machine = Machine::new(Arc::new(Replica::new()), disk.snapshots, log.clone());
    (log, machine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_disk_passes_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}

async fn three_entries(dir: &Path) {
    use openraft::storage::RaftLogStorageExt as _;
    let (mut log, _) = stores(files::open(dir, 1, "suite").unwrap());
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append((0..3).map(|index| openraft::testing::blank_ent::<TypeConfig>(3, 1, index)))
        .await
        .unwrap();
}

/// The only file of the log that has something in it.
fn log_file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[tokio::test]
async fn votes_and_entries_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    three_entries(dir.path()).await;
    let (mut log, _) = stores(files::open(dir.path(), 1, "suite").unwrap());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_what_lies_before_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    three_entries(dir.path()).await;
    let path = log_file(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 5).unwrap();
    let (mut log, _) = stores(files::open(dir.path(), 1, "suite").unwrap());
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap().len(), 2);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
}

#[tokio::test]
async fn zeros_and_garbage_behind_the_end_are_cut() {
    let garbage = (0..3_000_u32).map(|byte| (byte * 7 % 251) as u8).collect();
    for tail in [vec![0; 4096], garbage] {
        let dir = tempfile::tempdir().unwrap();
        three_entries(dir.path()).await;
        let bytes = [fs::read(log_file(dir.path())).unwrap(), tail].concat();
        fs::write(log_file(dir.path()), bytes).unwrap();
        let (mut log, _) = stores(files::open(dir.path(), 1, "suite").unwrap());
        assert_eq!(log.try_get_log_entries(0..9).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_bit_flipped_anywhere_but_in_the_last_record_is_found_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    three_entries(dir.path()).await;
    let path = log_file(dir.path());
    let whole = fs::read(&path).unwrap();
    // The last record is one blank entry: kind, id, payload of nine bytes, checksum.
    let last = whole.len() - (4 + 16 + 9 + 8);
    for at in 0..last {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        let error = files::open(dir.path(), 1, "suite").map(drop).unwrap_err();
        assert!(matches!(error, files::Error::Damaged { .. }), "byte {at}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "byte {at}");
    }
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(files::open(dir.path(), 1, "suite").unwrap());
    assert!(matches!(files::open(dir.path(), 2, "suite"), Err(files::Error::Foreign { node: 1, .. })));
    assert!(matches!(files::open(dir.path(), 1, "other"), Err(files::Error::Foreign { .. })));
}
