//! Ports that nobody else takes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::Range;

/// Below what Linux gives to outgoing connections (`ip_local_port_range` starts at 32,768), so that a dead node's port
/// is still free when it is started again.
const RANGE: Range<u16> = 12_000..31_200;
const BLOCK: u16 = 16;

/// Ports that are free on loopback and at one more address, none given twice; they are kept for as long as this is.
///
/// They come in blocks, whose first port stays bound. That is the lock: it works between threads and between processes,
/// and the kernel releases it whatever becomes of the process.
#[derive(Debug)]
pub struct Ports {
    host: IpAddr,
    locks: Vec<TcpListener>,
    left: Range<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self::of(Ipv4Addr::LOCALHOST.into())
    }
}

impl Ports {
    /// Those that are free at this address, too.
    pub fn of(host: IpAddr) -> Self {
        Self { host, locks: Vec::new(), left: 0..0 }
    }

    /// One more.
    ///
    /// # Errors
    /// If none is free, with what the system said of the last one.
    pub fn take(&mut self) -> io::Result<u16> {
        if self.left.is_empty() {
            let blocks = (RANGE.end - RANGE.start) / BLOCK;
            let start = (std::process::id() % u32::from(blocks)) as u16;
            let mut found = self.block(RANGE.start + start * BLOCK);
            for step in 1..blocks {
                if found.is_ok() {
                    break;
                }
                found = self.block(RANGE.start + (start + step) % blocks * BLOCK);
            }
            let none = |error: io::Error| {
                let Range { start, end } = RANGE;
                let text = format!("no free port at {} between {start} and {end}: {error}", self.host);
                io::Error::new(error.kind(), text)
            };
            let (lock, rest) = found.map_err(none)?;
            self.locks.push(lock);
            self.left = rest;
        }
        Ok(self.left.next().expect("a block has ports"))
    }

    /// The lock of the block that begins here, and its other ports, if all of them are free.
    fn block(&self, first: u16) -> io::Result<(TcpListener, Range<u16>)> {
        let (lock, rest) = (self.bind(first)?, first + 1..first + BLOCK);
        for port in rest.clone() {
            self.bind(port)?;
        }
        Ok((lock, rest))
    }

    fn bind(&self, port: u16) -> io::Result<TcpListener> {
        TcpListener::bind((self.host, port))?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
    }
}
