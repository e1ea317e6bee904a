//! Free ports on loopback.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// Below what Linux gives to outgoing connections (`ip_local_port_range` starts at 32,768), so that a dead node's port
/// is still free a second later when it is started again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
/// After so many taken ports in a row, something else is wrong.
const TRIES: usize = 2_000;

/// Why there are no ports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wished port is taken.
    #[error("port {port} is taken ({error}); choose another --base-port")]
    Taken {
        /// The port.
        port: u16,
        /// What the system says.
        error: std::io::Error,
    },
    /// The wished ports go past the last one.
    #[error("there are not enough ports after --base-port {0}")]
    TooHigh(u16),
    /// Nothing is free.
    #[error("no free port between {} and {}", RANGE.start, RANGE.end)]
    None,
}

/// Picks ports that are free now, none twice.
#[derive(Debug)]
pub(super) struct Picker {
    /// Beside loopback.
    host: IpAddr,
    taken: BTreeSet<u16>,
}

impl Picker {
    /// Of ports that are free on loopback and at this address.
    pub(super) fn of(host: IpAddr) -> Self {
        Self { host, taken: BTreeSet::new() }
    }

    /// `count` ports from `base` on, each of which must be free.
    pub(super) fn row(&mut self, base: u16, count: u16) -> Result<Vec<u16>, Error> {
        let last = base.checked_add(count - 1).ok_or(Error::TooHigh(base))?;
        let row: Vec<u16> = (base..=last).collect();
        for port in &row {
            self.free(*port).map_err(|error| Error::Taken { port: *port, error })?;
            self.taken.insert(*port);
        }
        Ok(row)
    }

    /// Any free port.
    pub(super) fn any(&mut self) -> Result<u16, Error> {
        for _ in 0..TRIES {
            let port = rand::random_range(RANGE);
            if !self.taken.contains(&port) && self.free(port).is_ok() {
                self.taken.insert(port);
                return Ok(port);
            }
        }
        Err(Error::None)
    }

    fn free(&self, port: u16) -> std::io::Result<()> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)?;
        TcpListener::bind((self.host, port)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut picker = Picker::of(Ipv4Addr::LOCALHOST.into());
        let ports: BTreeSet<u16> = (0..50).map(|_| picker.any().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = Picker::of(Ipv4Addr::LOCALHOST.into()).row(port, 1).unwrap_err();
        assert!(error.to_string().contains(&format!("port {port} is taken")), "{error}");
    }

    #[test]
    fn a_row_ends_at_the_last_port() {
        assert!(matches!(Picker::of(Ipv4Addr::LOCALHOST.into()).row(65_535, 3), Err(Error::TooHigh(65_535))));
    }

    #[test]
    fn a_row_is_kept_from_others() {
        let mut picker = Picker::of(Ipv4Addr::LOCALHOST.into());
        let base = picker.any().unwrap();
        let mut other = Picker::of(Ipv4Addr::LOCALHOST.into());
        assert_eq!(other.row(base, 1).unwrap(), [base]);
        assert!(other.taken.contains(&base));
    }
}
