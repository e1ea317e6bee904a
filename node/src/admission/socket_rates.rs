//! How fast the sockets of one client may send, all together. Each has its own bound as well, but a client may have a
//! thousand of them. Nobody is refused for it: whoever is too fast is read more slowly.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client_identity::Client;
use super::recent::Recent;

/// A shorter message counts as one of so many bytes: each is a command in the log.
const MESSAGE_BYTES_MIN: usize = 4096;
/// So much may come at once.
const BURST: Duration = Duration::from_secs(1);
/// The longest that a socket is not read, so that its pongs are still heard in time.
const DELAY_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Inner {
    bytes_per_second: f64,
    /// When what each client has sent is worked off.
    due: Mutex<Recent<Instant>>,
}

/// The flows of all clients into one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Flow(Arc<Inner>);

impl Flow {
    /// So fast for each client, and a second's worth at once.
    pub fn new(bytes_per_second: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Self(Arc::new(Inner { bytes_per_second, due: Mutex::default() }))
    }

    /// Counts a message of one of the client's sockets. After the time returned that socket is to be read again.
    pub fn owe(&self, client: Client, bytes: usize, now: Instant) -> Duration {
        self.add(client, bytes.max(MESSAGE_BYTES_MIN) as u64, now)
    }

    /// The same for bytes of a message that is too long, which are discarded while they come.
    pub fn owe_discarded(&self, client: Client, bytes: u64, now: Instant) -> Duration {
        self.add(client, bytes, now)
    }

    fn add(&self, client: Client, bytes: u64, now: Instant) -> Duration {
        let each = Duration::from_secs_f64(bytes as f64 / self.0.bytes_per_second);
        let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        // More than all of its sockets can be made to wait for is forgiven.
        let at = due.get(client).unwrap_or(now).clamp(now, now + BURST + DELAY_MAX) + each;
        due.set(client, at);
        at.saturating_duration_since(now + BURST).min(DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Client = Client::V4(1);

    #[test]
    fn all_sockets_of_a_client_together_come_to_the_rate() {
        let (flow, began) = (Flow::new(100 * 4096), Instant::now());
        let mut sockets = vec![began; 20];
        let mut sent = 0;
        while let Some(next) =
            sockets.iter_mut().min().filter(|next| **next < began + Duration::from_secs(11))
        {
            *next += flow.owe(ONE, 1, *next);
            sent += 1;
        }
        assert!((1180..=1230).contains(&sent), "a second's worth at once and ten more: {sent}");
        assert_eq!(flow.owe(Client::V4(2), 4096, began), Duration::ZERO, "another has its own");
    }

    #[test]
    fn what_is_discarded_is_owed_byte_by_byte() {
        let (flow, now) = (Flow::new(8192), Instant::now());
        assert_eq!((0..8).map(|_| flow.owe_discarded(ONE, 1024, now)).max(), Some(Duration::ZERO));
        assert_eq!(flow.owe_discarded(ONE, 8192, now), Duration::from_secs(1));
        assert_eq!(flow.owe(ONE, 1, now), Duration::from_millis(1500));
    }

    #[test]
    fn nobody_waits_for_long() {
        let (flow, now) = (Flow::new(4096), Instant::now());
        let longest = (0..1000).map(|_| flow.owe(ONE, 80 << 10, now)).max();
        assert_eq!(longest, Some(DELAY_MAX));
        assert_eq!(flow.owe(ONE, 1, now + Duration::from_secs(60)), Duration::ZERO);
    }
}
