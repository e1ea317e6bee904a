//! A listener that reads whatever comes and throws it away: what a flood costs the one who sends it.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Bytes read at a time.
const READ: usize = 4 << 10;

/// Listeners on loopback, on a thread of their own that ends when this is dropped.
#[derive(Debug)]
pub struct Sink {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on so many ports.
    pub fn open(ports: usize) -> io::Result<Self> {
        let listen = || -> io::Result<std::net::TcpListener> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listeners = (0..ports).map(|_| listen()).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(|listener| listener.local_addr()).collect::<io::Result<_>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("sink".to_owned()).spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => _ = tokio::spawn(accept(listener)),
                        Err(error) => tell!("a listener that discards is lost: {error}"),
                    }
                }
                // Dropped or told: both mean the end.
                let _ = stopped.await;
            });
        })?;
        Ok(Self { addresses, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener) {
    // Without a free descriptor there is nothing to accept; the next connection is tried once one has ended.
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(async move {
            let mut piece = vec![0; READ];
            while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
        });
    }
}
