//! Snapshots on disk: one file each, written aside and renamed when it is complete.
//!
//! A file is `length of the meta | meta | content`; the content ends with its own SHA-256.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::deferred_delete::Disposal;
use super::snapshot_pacing::{Flushing, Once, Paced};
use super::{Error, damage_or_io, io_error, page_cache, stray};
use crate::raft::disk_traits::{Drain, Fill, SnapshotDisk, SnapshotFile, SnapshotMeta, SnapshotSink};
use crate::raft::message;

/// Bytes of an encoded meta; a cluster of a hundred nodes needs a hundredth.
const META_BYTES_MAX: u32 = 1 << 20;
/// For how long a snapshot waits for a descriptor, and how often it looks for one.
const DESCRIPTOR_WAIT_MAX: Duration = Duration::from_secs(60);
const DESCRIPTOR_REST: Duration = Duration::from_millis(50);

pub(super) struct FileSnapshots {
    dir: PathBuf,
    disposal: Disposal,
    current: Mutex<Option<Arc<dyn SnapshotFile>>>,
}

impl FileSnapshots {
    /// Finds the newest complete snapshot and removes older ones and what was never completed.
    pub(super) fn open(dir: &Path, disposal: Disposal) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        let mut newest: Option<Stored> = None;
        for entry in fs::read_dir(dir).map_err(io_error(dir))? {
            let path = entry.map_err(io_error(dir))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            match (extension, path.is_file()) {
                (Some("snapshot"), true) if is_named(&path) => {}
                (Some("snapshot"), _) => return Err(stray(&path)),
                (Some("part"), true) => {
                    fs::remove_file(&path).map_err(io_error(&path))?;
                    continue;
                }
                _ => {
                    tracing::warn!(path = %path.display(), "this is none of the snapshots' files; it is left alone");
                    continue;
                }
            }
            let stored = Stored::open(&path, disposal.clone()).map_err(damage_or_io(&path))?;
            let older = match newest.take() {
                Some(other) if other.meta.last >= stored.meta.last => {
                    newest = Some(other);
                    Some(stored)
                }
                other => {
                    newest = Some(stored);
                    other
                }
            };
            if let Some(older) = older {
                fs::remove_file(&older.path).map_err(io_error(&older.path))?;
            }
        }
        let current = newest.map(|stored| Arc::new(stored) as Arc<dyn SnapshotFile>);
        Ok(Self { dir: dir.to_owned(), disposal, current: Mutex::new(current) })
    }
}

/// The name of a snapshot that ends with this entry.
fn name(meta: &SnapshotMeta) -> String {
    let (index, term) = meta.last.map_or((0, 0), |last| (last.index, last.term));
    format!("{index:020}-{term:010}.snapshot")
}

/// Whether a file has a name as [`name`] gives them.
fn is_named(path: &Path) -> bool {
    let digits = |text: &str, len: usize| text.len() >= len && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.split_once('-'))
        .is_some_and(|(index, term)| digits(index, 20) && digits(term, 10))
}

/// Renames a complete file into its place and makes that durable.
fn publish(dir: &Path, part: &Path, meta: &SnapshotMeta, disposal: Disposal) -> io::Result<Stored> {
    let path = dir.join(name(meta));
    fs::rename(part, &path)?;
    patient(|| File::open(dir))?.sync_all()?;
    patient(|| Stored::open(&path, disposal.clone()))
}

/// Opens a file, and waits for a while if there are no descriptors: a snapshot can wait, and a node whose snapshot fails
/// ends.
fn patient<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    use rustix::io::Errno;
    let until = Instant::now() + DESCRIPTOR_WAIT_MAX;
    loop {
        match open() {
            Err(error)
                if [Errno::MFILE, Errno::NFILE].map(Some).contains(&Errno::from_io_error(&error))
                    && Instant::now() < until =>
            {
                std::thread::sleep(DESCRIPTOR_REST);
            }
            done => return done,
        }
    }
}

/// Removes all snapshots but `keep`. A file that is being read stays readable until it is closed.
fn remove_others(dir: &Path, keep: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path != keep && path.extension().is_some_and(|extension| extension == "snapshot") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl SnapshotDisk for FileSnapshots {
    fn current(&self) -> Option<Arc<dyn SnapshotFile>> {
        self.current.lock().expect("nothing panics while this is held").clone()
    }

    fn create<'a>(
        &'a self,
        meta: SnapshotMeta,
        fill: Fill,
    ) -> BoxFuture<'a, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(async move {
            let (dir, disposal) = (self.dir.clone(), self.disposal.clone());
            let stored = blocking(move || {
                let part = dir.join("built.part");
                let mut out = Paced::new(begin(&part, &meta)?);
                fill(&mut out)?;
                out.finish()?;
                let stored = publish(&dir, &part, &meta, disposal)?;
                remove_others(&dir, &stored.path)?;
                Ok(stored)
            })
            .await?;
            let stored: Arc<dyn SnapshotFile> = Arc::new(stored);
            *self.current.lock().expect("nothing panics while this is held") = Some(stored.clone());
            Ok(stored)
        })
    }

    fn receive<'a>(&'a self, meta: SnapshotMeta) -> BoxFuture<'a, io::Result<Box<dyn SnapshotSink>>> {
        Box::pin(async move {
            let (dir, disposal) = (self.dir.clone(), self.disposal.clone());
            let sink = blocking(move || {
                let part = dir.join("received.part");
                // What is received is the content; the meta in front of it is written here.
                let out = Flushing::new(begin(&part, &meta)?);
                Ok(Sink { dir, part, meta, out, disposal })
            })
            .await?;
            Ok(Box::new(sink) as Box<dyn SnapshotSink>)
        })
    }

    fn discard(&self, garbage: Box<dyn Send>) {
        tokio::task::spawn_blocking(move || drop(garbage));
    }

    fn install<'a>(&'a self, snapshot: Arc<dyn SnapshotFile>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let dir = self.dir.clone();
            let keep = dir.join(name(snapshot.meta()));
            blocking(move || remove_others(&dir, &keep)).await?;
            *self.current.lock().expect("nothing panics while this is held") = Some(snapshot);
            Ok(())
        })
    }
}

/// Makes the file and writes what comes before the content.
fn begin(path: &Path, meta: &SnapshotMeta) -> io::Result<File> {
    let mut file =
        patient(|| File::options().write(true).create(true).truncate(true).mode(0o600).open(path))?;
    let meta = message::encode(meta);
    file.write_all(&(meta.len() as u32).to_be_bytes())?;
    file.write_all(&meta)?;
    Ok(file)
}

/// What arrives is paced by its sender.
struct Sink {
    dir: PathBuf,
    part: PathBuf,
    meta: SnapshotMeta,
    out: Flushing,
    disposal: Disposal,
}

impl SnapshotSink for Sink {
    fn write<'a>(&'a mut self, piece: Bytes) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let file = self.out.file.try_clone()?;
            let mut out = Flushing { file, unflushed: self.out.unflushed };
            self.out.unflushed = blocking(move || {
                out.write_all(&piece)?;
                Ok(out.unflushed)
            })
            .await?;
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(blocking(move || {
            self.out.file.sync_all()?;
            let stored = publish(&self.dir, &self.part, &self.meta, self.disposal)?;
            Ok(Arc::new(stored) as Arc<dyn SnapshotFile>)
        }))
    }
}

/// A complete snapshot file.
struct Stored {
    path: PathBuf,
    file: Arc<File>,
    meta: SnapshotMeta,
    start: u64,
    len: u64,
    disposal: Disposal,
}

impl Drop for Stored {
    /// The last reader is gone. If the name is too, the file is freed, and not on a thread that has better to do.
    fn drop(&mut self) {
        let nameless = self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if nameless && let Ok(file) = self.file.try_clone() {
            self.disposal.take(file);
        }
    }
}

impl Stored {
    fn open(path: &Path, disposal: Disposal) -> io::Result<Self> {
        // Writable for the disposal alone.
        let mut file = File::options().read(true).write(true).open(path)?;
        let mut len = [0; 4];
        file.read_exact(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len > META_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the length of its meta is absurd"));
        }
        let mut meta = vec![0; len as usize];
        file.read_exact(&mut meta)?;
        let meta =
            message::decode(&meta).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let start = file.stream_position()?;
        let len = file.metadata()?.len() - start;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), meta, start, len, disposal })
    }
}

impl SnapshotFile for Stored {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at<'a>(&'a self, offset: u64, bytes_max: usize) -> BoxFuture<'a, io::Result<Bytes>> {
        let file = self.file.clone();
        let start = self.start + offset;
        let wanted = self.len.saturating_sub(offset).min(bytes_max as u64) as usize;
        Box::pin(blocking(move || {
            let mut piece = vec![0; wanted];
            file.read_exact_at(&mut piece, start)?;
            page_cache::forget(&file, &(start..start + wanted as u64));
            Ok(piece.into())
        }))
    }

    fn drain<'a>(&'a self, drain: Drain) -> BoxFuture<'a, io::Result<()>> {
        let path = self.path.clone();
        let start = self.start;
        Box::pin(blocking(move || {
            let mut file = File::open(path)?;
            file.seek(io::SeekFrom::Start(start))?;
            drain(&mut Once::new(file, start))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 3 << 20;

    #[test]
    fn a_snapshot_waits_for_a_descriptor_and_for_nothing_else() {
        let tries = std::cell::Cell::new(0);
        let opened = patient(|| {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(rustix::io::Errno::MFILE.into()) } else { Ok(tries.get()) }
        });
        assert_eq!(opened.unwrap(), 3);
        let begun = Instant::now();
        let missing = patient(|| File::open("/nonexistent/file"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(begun.elapsed() < DESCRIPTOR_WAIT_MAX);
    }

    async fn create(snapshots: &FileSnapshots, index: u64) -> Arc<dyn SnapshotFile> {
        let meta = SnapshotMeta {
            last: Some(crate::raft::disk_traits::LogId { term: 1, index }),
            ..Default::default()
        };
        let fill: Fill = Box::new(move |out| out.write_all(&vec![index as u8; BYTES]));
        snapshots.create(meta, fill).await.unwrap()
    }

    #[tokio::test]
    async fn a_replaced_snapshot_lasts_until_its_last_reader_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = FileSnapshots::open(dir.path(), Disposal::start().unwrap()).unwrap();
        let old = create(&snapshots, 1).await;
        let handle = File::open(fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path()).unwrap();
        create(&snapshots, 2).await;
        assert_eq!(handle.metadata().unwrap().nlink(), 0);
        assert_eq!(old.read_at(BYTES as u64 - 10, 100).await.unwrap(), vec![1; 10]);

        drop(old);

        let begun = Instant::now();
        while handle.metadata().unwrap().len() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the file is not freed");
            tokio::task::yield_now().await;
        }
        let now = snapshots.current().unwrap();
        assert_eq!(now.read_at(0, BYTES).await.unwrap(), vec![2; BYTES]);
    }
}
