//! One direction of one connection: what arrives, when.
//!
//! A cut direction loses nothing, it delivers nothing: that is what a partition looks like from above TCP, which sends
//! again until it gets through. Connections stay open, and after healing the bytes that were held back arrive late.
//!
//! Loss, likewise, is what TCP makes of it. A piece that is lost is sent again, and what was sent after it waits for it,
//! since a stream has an order. The first try again comes after two round trips, as a tail loss probe does (RFC 8985,
//! 7.2); those that follow after the time-out of RFC 6298, which doubles each time, with the least value that Linux takes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Direction, Rules, Weather};

/// Pieces of at most 64 KiB that one direction of one connection holds back.
const HELD_PIECES: usize = 64;
const PIECE_BYTES: usize = 64 << 10;

const PROBE_LEAST: Duration = Duration::from_millis(10);
const TIMEOUT_LEAST: Duration = Duration::from_millis(200);
const TIMEOUT_MOST: Duration = Duration::from_secs(5);

/// The connection was ended by the weather.
#[derive(Debug)]
pub(super) struct Reset;

/// Carries bytes one way until the end, as the rules of that direction allow.
pub(super) async fn flow(
    direction: Direction,
    mut rules: watch::Receiver<Rules>,
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
) -> Result<(), Reset> {
    let (held, mut pieces) = mpsc::channel::<(Instant, Bytes)>(HELD_PIECES);
    let forecast = rules.clone();
    let reading = async move {
        let mut buffer = BytesMut::new();
        let mut last = Instant::now();
        loop {
            buffer.reserve(PIECE_BYTES);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
            let piece = buffer.split().freeze();
            let weather = forecast.borrow().weather.get(&direction).copied().unwrap_or_default();
            if weather.reset > 0.0 && rand::random::<f64>() < weather.reset {
                return Err(Reset);
            }
            last = weather.arrival(Instant::now(), last, piece.len());
            if held.send((last, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if rules.wait_for(|rules| !rules.cut.contains(&direction)).await.is_err() {
                return Ok(());
            }
            if write.write_all(&piece).await.is_err() {
                return Ok(());
            }
        }
        let _ = write.shutdown().await;
        Ok(())
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

impl Weather {
    /// When a piece arrives that was sent now, the one before it having arrived at `last`.
    fn arrival(&self, now: Instant, last: Instant, length: usize) -> Instant {
        let jitter = self.jitter.mul_f64(2.0 * rand::random::<f64>());
        let way = (self.delay + jitter).saturating_sub(self.jitter) + self.retransmissions();
        // Never before the one sent earlier: the stream has an order.
        let due = (now + way).max(last);
        match self.bytes_per_second {
            None => due,
            Some(rate) => due + Duration::from_secs_f64(length as f64 / rate.max(1) as f64),
        }
    }

    fn retransmissions(&self) -> Duration {
        let round_trip = 2 * self.delay;
        let mut pause = (2 * round_trip).max(PROBE_LEAST);
        let mut timeout = (round_trip + 4 * self.jitter).max(TIMEOUT_LEAST);
        let mut late = Duration::ZERO;
        while self.loss > 0.0 && rand::random::<f64>() < self.loss.min(0.99) {
            late += pause;
            pause = timeout;
            timeout = (2 * timeout).min(TIMEOUT_MOST);
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(75);
    const JITTER: Duration = Duration::from_millis(50);

    #[test]
    fn jitter_stays_within_its_bounds_and_keeps_the_order() {
        let weather = Weather { delay: DELAY, jitter: JITTER, ..Weather::default() };
        let now = Instant::now();
        let mut last = now;
        for _ in 0..1_000 {
            let alone = weather.arrival(now, now, 1) - now;
            assert!(alone >= DELAY - JITTER && alone <= DELAY + JITTER, "{alone:?}");
            let next = weather.arrival(now, last, 1);
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn a_lost_piece_costs_a_time_out_and_doubles_it() {
        let weather = Weather { loss: 0.5, ..Weather::default() };
        let late: Vec<Duration> = (0..1_000).map(|_| weather.retransmissions()).collect();
        let lost = late.iter().filter(|late| !late.is_zero()).count();
        assert!((400..600).contains(&lost), "{lost} of 1,000");
        let once = PROBE_LEAST;
        let twice = once + TIMEOUT_LEAST;
        for late in late {
            assert!(late.is_zero() || late == once || late >= twice, "{late:?}");
        }
    }

    #[test]
    fn fair_weather_costs_nothing() {
        let now = Instant::now();
        assert_eq!(Weather::default().arrival(now, now, 1 << 20), now);
    }
}
