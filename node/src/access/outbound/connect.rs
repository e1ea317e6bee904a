//! Connecting to the first of several addresses that answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// An address has at least this much of the time, though then those behind it have less, or none.
const EACH_MIN: Duration = Duration::from_secs(1);

/// Connects to one address after the other until one takes it. Each has an even share of the time that is left until `end`, so
/// that one that swallows everything does not use up the time of those behind it.
///
/// # Errors
/// What the last one said that was tried; it timed out if it said nothing.
pub(crate) async fn first<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    end: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut why = io::ErrorKind::AddrNotAvailable.into();
    for (place, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() && place > 0 {
            break;
        }
        let share = left / u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
        match timeout(share.max(EACH_MIN), connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Addresses that swallow everything, but for some ports; when each was tried, in milliseconds.
    async fn tried(count: u16, takes: &[u16], within: Duration) -> (io::Result<u16>, Vec<u128>) {
        let began = Instant::now();
        let tried = Mutex::new(Vec::new());
        let addresses: Vec<SocketAddr> = (1..=count).map(|port| ([192, 0, 2, 1], port).into()).collect();
        let outcome = first(&addresses, began + within, async |address: SocketAddr| {
            tried.lock().unwrap().push(began.elapsed().as_millis());
            if !takes.contains(&address.port()) {
                std::future::pending::<()>().await;
            }
            Ok(address.port())
        });
        (outcome.await, tried.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_everything_leaves_time_to_the_next() {
        let (connected, at) = tried(2, &[2], Duration::from_secs(10)).await;
        assert_eq!((connected.unwrap(), at), (2, vec![0, 5_000]));
        let (connected, at) = tried(4, &[4], Duration::from_secs(8)).await;
        assert_eq!((connected.unwrap(), at), (4, vec![0, 2_000, 4_000, 6_000]));
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_a_second_at_least_and_none_begins_after_the_end() {
        let (connected, at) = tried(4, &[], Duration::from_secs(2)).await;
        assert_eq!((connected.unwrap_err().kind(), at), (io::ErrorKind::TimedOut, vec![0, 1_000]));
        let (connected, at) = tried(1, &[], Duration::from_secs(5)).await;
        assert_eq!((connected.unwrap_err().kind(), at), (io::ErrorKind::TimedOut, vec![0]));
        let (connected, _) = tried(0, &[], Duration::from_secs(5)).await;
        assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
