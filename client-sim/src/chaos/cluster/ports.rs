//! Ports that nobody else takes.

use std::net::{Ipv4Addr, TcpListener};
use std::process;

/// Below the range from which the kernel draws ports for outgoing connections, so that none of those is in the way.
const FIRST: u16 = 12_000;
const BLOCKS: u16 = 1_200;
const BLOCK: u16 = 16;

/// A block of consecutive ports on loopback.
///
/// The first port of a block is kept bound for as long as the block is held. That is the lock: it works between
/// threads and between processes, and the kernel releases it whatever becomes of the process.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    _lock: TcpListener,
}

impl Ports {
    /// How many ports [`Ports::get`] can give.
    pub const COUNT: u16 = BLOCK - 1;

    /// Takes a block.
    pub fn take() -> Self {
        let start = (process::id() % u32::from(BLOCKS)) as u16;
        (0..BLOCKS)
            .map(|step| FIRST + (start + step) % BLOCKS * BLOCK)
            .find_map(|first| {
                let lock = bind(first)?;
                let free = (1..BLOCK).all(|offset| bind(first + offset).is_some());
                free.then_some(Self { first, _lock: lock })
            })
            .expect("not every port is taken")
    }

    /// The block's port number `index`, counted from 0.
    pub fn get(&self, index: u16) -> u16 {
        assert!(index < Self::COUNT, "a block has so many ports");
        self.first + 1 + index
    }
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_have_no_port_in_common_and_each_port_is_free() {
        let (one, other) = (Ports::take(), Ports::take());
        assert!(one.first.abs_diff(other.first) >= BLOCK);
        for ports in [one, other] {
            assert!((0..Ports::COUNT).all(|index| bind(ports.get(index)).is_some()));
        }
    }
}
