//! The snapshots' part of a disk.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conclave_cluster::raft::disk_traits::{
    Drain, Fill, SnapshotDisk, SnapshotFile, SnapshotMeta, SnapshotSink,
};
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::Platter;

pub(super) struct SimSnapshots {
    pub(super) platter: Platter,
    pub(super) current: Mutex<Option<Arc<dyn SnapshotFile>>>,
}

/// A complete snapshot.
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    bytes: Bytes,
}

impl SimSnapshots {
    fn set_current(&self, snapshot: Arc<dyn SnapshotFile>) {
        *self.current.lock().expect("nothing panics while this is held") = Some(snapshot);
    }
}

impl SnapshotDisk for SimSnapshots {
    fn current(&self) -> Option<Arc<dyn SnapshotFile>> {
        self.current.lock().expect("nothing panics while this is held").clone()
    }

    fn create<'a>(
        &'a self,
        meta: SnapshotMeta,
        fill: Fill,
    ) -> BoxFuture<'a, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            fill(&mut bytes)?;
            sleep(self.platter.latency()).await;
            let stored = Arc::new(Stored { meta, bytes: bytes.into() });
            self.platter.lock().snapshots = vec![stored.clone()];
            self.set_current(stored.clone());
            Ok(stored as Arc<dyn SnapshotFile>)
        })
    }

    fn receive<'a>(&'a self, meta: SnapshotMeta) -> BoxFuture<'a, io::Result<Box<dyn SnapshotSink>>> {
        let sink = Sink { platter: self.platter.clone(), meta, bytes: Vec::new() };
        Box::pin(async move { Ok(Box::new(sink) as Box<dyn SnapshotSink>) })
    }

    fn install<'a>(&'a self, snapshot: Arc<dyn SnapshotFile>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            sleep(self.platter.latency()).await;
            {
                let mut inner = self.platter.lock();
                inner.snapshots.retain(|stored| stored.meta == *snapshot.meta());
                inner.learn_cell(&snapshot.meta().membership);
            }
            self.set_current(snapshot);
            Ok(())
        })
    }
}

struct Sink {
    platter: Platter,
    meta: SnapshotMeta,
    bytes: Vec<u8>,
}

impl SnapshotSink for Sink {
    fn write<'a>(&'a mut self, piece: Bytes) -> BoxFuture<'a, io::Result<()>> {
        self.bytes.extend_from_slice(&piece);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn SnapshotFile>>> {
        Box::pin(async move {
            sleep(self.platter.latency()).await;
            let stored = Arc::new(Stored { meta: self.meta, bytes: self.bytes.into() });
            self.platter.lock().snapshots.push(stored.clone());
            Ok(stored as Arc<dyn SnapshotFile>)
        })
    }
}

impl SnapshotFile for Stored {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at<'a>(&'a self, offset: u64, bytes_max: usize) -> BoxFuture<'a, io::Result<Bytes>> {
        let start = (offset as usize).min(self.bytes.len());
        let end = (start + bytes_max).min(self.bytes.len());
        let piece = self.bytes.slice(start..end);
        Box::pin(async move { Ok(piece) })
    }

    fn drain<'a>(&'a self, drain: Drain) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { drain(&mut self.bytes.as_ref()) })
    }
}
