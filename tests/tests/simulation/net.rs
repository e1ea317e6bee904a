//! The simulated network as the links see it.

use std::io;
use std::net::SocketAddr;

use conclave_cluster::wire::{Listener, Stream, Transport};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use turmoil::net::{TcpListener, TcpStream};

/// TCP between simulated machines.
pub(crate) struct Net;

impl Transport for Net {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Stream>) }.boxed()
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move { Ok(Box::new(Accepting(TcpListener::bind(address).await?)) as Box<dyn Listener>) }.boxed()
    }
}

struct Accepting(TcpListener);

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            let (stream, remote) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, remote))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
