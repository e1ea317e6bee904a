//! A network of pipes in memory, which can be cut and frozen, and which a paused clock does not confuse.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use conclave_cluster::wire::{Listener, Stream, Transport};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{Notify, mpsc};

/// All nodes of a test share one.
#[derive(Clone, Default)]
pub struct Pipes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listeners: Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>,
    attempts: AtomicUsize,
    cut: AtomicBool,
    frozen: Notify,
}

impl Pipes {
    /// From now on, or no longer, attempts to connect are refused.
    pub fn cut(&self, cut: bool) {
        self.0.cut.store(cut, Ordering::Relaxed);
    }

    /// Connections made so far carry nothing any more, though both ends stay open.
    pub fn freeze(&self) {
        self.0.frozen.notify_waiters();
    }

    /// How often anybody tried to connect.
    pub fn attempts(&self) -> usize {
        self.0.attempts.load(Ordering::Relaxed)
    }
}

impl Transport for Pipes {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        async move {
            self.0.attempts.fetch_add(1, Ordering::Relaxed);
            let listener = self.0.listeners.lock().unwrap().get(address).cloned();
            let listener = listener.filter(|_| !self.0.cut.load(Ordering::Relaxed));
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (near, mut near_end) = duplex(1 << 16);
            let (far, mut far_end) = duplex(1 << 16);
            listener.ok_or_else(refused)?.send(far).await.map_err(|_| refused())?;
            let network = self.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut near_end, &mut far_end) => {}
                    () = network.0.frozen.notified() => std::future::pending().await,
                }
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let (sender, receiver) = mpsc::channel(16);
            self.0.listeners.lock().unwrap().insert(address.to_owned(), sender);
            Ok(Box::new(Door(receiver)) as Box<dyn Listener>)
        }
        .boxed()
    }
}

struct Door(mpsc::Receiver<DuplexStream>);

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            match self.0.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, self.local_addr()?)),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}
