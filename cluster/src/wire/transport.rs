//! Where connections come from: real TCP in production, a simulated network in simulation.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::sleep;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long an address has before the next one is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A network.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `address`, a `host:port`. Bounded in time by the caller.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
    /// Listens on `address`, a `host:port`; port 0 takes a free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A connection: bytes both ways, in order.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Accepts connections.
pub trait Listener: Send {
    /// The next connection and where it comes from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
    /// Where this listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// TCP without Nagle's delay. Dead peers are found by the links' own keep-alive, which is quicker than the kernel's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        async move {
            let addresses: Vec<SocketAddr> = lookup_host(address).await?.take(ADDRESSES_MAX).collect();
            let stream = first_of(addresses, TcpStream::connect).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) }.boxed()
    }
}

/// Connects to the first address that answers. One that is silent does not hold up those behind it.
async fn first_of<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut addresses = addresses.into_iter().peekable();
    let mut tries = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.next() {
        tries.push(connect(address));
        let waits_on = async {
            while let Some(tried) = tries.next().await {
                match tried {
                    Ok(connected) => return Some(connected),
                    Err(error) => failed = error,
                }
            }
            None
        };
        let connected = match addresses.peek() {
            Some(_) => tokio::select! {
                connected = waits_on => connected,
                () = sleep(NEXT_ADDRESS_AFTER) => None,
            },
            None => waits_on.await,
        };
        if let Some(connected) = connected {
            return Ok(connected);
        }
    }
    Err(failed)
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            let (stream, remote) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Stream>, remote))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Port 1 is silent, port 2 refuses, others answer.
    async fn connect(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => std::future::pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            port => Ok(port),
        }
    }

    fn at(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_hold_up_the_next_one() {
        let begun = Instant::now();
        assert_eq!(first_of(at(&[1, 1, 3]), connect).await.unwrap(), 3);
        assert_eq!(begun.elapsed(), 2 * NEXT_ADDRESS_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_is_left_at_once() {
        let begun = Instant::now();
        assert_eq!(first_of(at(&[2, 3]), connect).await.unwrap(), 3);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let refused = first_of(at(&[2, 2]), connect).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_of(at(&[]), connect).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
