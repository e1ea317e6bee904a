//! The simulated network as the links see it.
//!
//! A machine keeps its connections in one table, so that a crash ends them in a known order: a runtime that is
//! torn down drops its tasks in an order that depends on what else the process did before.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use conclave_cluster::wire::{Listener, Stream, Transport};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// One machine's TCP. Clones share its connections.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    last: u64,
    streams: BTreeMap<u64, TcpStream>,
    /// Whoever is called there seems to be gone.
    refused: Option<String>,
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while this is held")
    }

    /// Ends all connections, oldest first. On the machine, the peers are told, as when a process is killed;
    /// from outside of the simulation nobody is, as when the power goes.
    pub(crate) fn cut(&self) {
        let streams = std::mem::take(&mut self.lock().streams);
        streams.into_values().for_each(drop);
    }

    /// From now on, connections to this address are refused, whoever listens there; or none are.
    pub(crate) fn refuse(&self, address: Option<String>) {
        self.lock().refused = address;
    }

    fn keep(&self, stream: TcpStream) -> Box<dyn Stream> {
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        table.streams.insert(number, stream);
        Box::new(Connection { net: self.clone(), number })
    }
}

impl Transport for Net {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        async move {
            if self.lock().refused.as_deref() == Some(address) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(self.keep(TcpStream::connect(address).await?))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(Accepting { net: self.clone(), listener }) as Box<dyn Listener>)
        }
        .boxed()
    }
}

struct Accepting {
    net: Net,
    listener: TcpListener,
}

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            let (stream, remote) = self.listener.accept().await?;
            Ok((self.net.keep(stream), remote))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A place in the table.
struct Connection {
    net: Net,
    number: u64,
}

impl Connection {
    fn poll<T>(&self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.net.lock().streams.get_mut(&self.number) {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let stream = self.net.lock().streams.remove(&self.number);
        drop(stream);
    }
}
