//! What stands between the nodes: a TCP proxy in front of each node's peer port.
//!
//! Everybody reaches node B by B's door, so a door has to find out who knocks. It asks the kernel: the connection's
//! other end is a socket, the socket has an inode, and `/proc` shows which process holds it. So a rule can be about one
//! direction between two nodes, nodes need know nothing of it, and no privilege is needed.
//!
//! A cut direction loses nothing, it delivers nothing: that is what a partition looks like from above TCP, which sends
//! again until it gets through. Connections stay open, and after healing the bytes that were held back arrive late.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// From one node to another.
type Direction = (u64, u64);

/// Pieces of at most 64 KiB that one direction of one connection holds back.
const HELD_PIECES: usize = 64;
const PIECE_BYTES: usize = 64 << 10;

const RECOGNITION_ATTEMPTS: u32 = 50;
const RECOGNITION_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default)]
struct Rules {
    cut: BTreeSet<Direction>,
    delay: BTreeMap<Direction, Duration>,
}

/// The doors of all nodes, and the rules they follow.
#[derive(Debug)]
pub struct Net {
    rules: watch::Sender<Rules>,
    doors: BTreeMap<u64, SocketAddr>,
    pids: Pids,
    accepting: Vec<AbortHandle>,
}

type Pids = Arc<Mutex<BTreeMap<u64, u32>>>;

impl Net {
    /// Opens a door in front of each node's peer port.
    pub async fn open(behind: BTreeMap<u64, SocketAddr>) -> Self {
        let rules = watch::Sender::new(Rules::default());
        let pids = Pids::default();
        let mut doors = BTreeMap::new();
        let mut accepting = Vec::new();
        for (id, target) in behind {
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
            doors.insert(id, listener.local_addr().expect("a bound socket has an address"));
            let door = Door { id, target, rules: rules.subscribe(), pids: pids.clone() };
            accepting.push(tokio::spawn(door.accept(listener)).abort_handle());
        }
        Self { rules, doors, pids, accepting }
    }

    /// The address under which others reach a node.
    pub fn door(&self, id: u64) -> SocketAddr {
        self.doors[&id]
    }

    /// Says which process is a node now.
    pub fn belongs_to(&self, id: u64, pid: u32) {
        self.pids.lock().expect("nobody panics while holding it").insert(id, pid);
    }

    /// Holds back everything that goes from one node to another; the way back stays open.
    pub fn cut(&self, from: u64, to: u64) {
        self.rules.send_modify(|rules| {
            rules.cut.insert((from, to));
        });
    }

    /// Cuts one node off from all others, both ways.
    pub fn isolate(&self, id: u64) {
        self.mute(id);
        self.deafen(id);
    }

    /// Holds back everything a node says.
    pub fn mute(&self, id: u64) {
        for other in self.others(id) {
            self.cut(id, other);
        }
    }

    /// Holds back everything a node should hear.
    pub fn deafen(&self, id: u64) {
        for other in self.others(id) {
            self.cut(other, id);
        }
    }

    /// Delays every piece that goes between two different nodes.
    pub fn slow(&self, by: Duration) {
        let directions = self.doors.keys().flat_map(|from| self.doors.keys().map(|to| (*from, *to)));
        let delay: BTreeMap<Direction, Duration> = directions.map(|direction| (direction, by)).collect();
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Lifts all rules; what was held back arrives now.
    pub fn heal(&self) {
        self.rules.send_replace(Rules::default());
    }

    fn others(&self, id: u64) -> Vec<u64> {
        self.doors.keys().copied().filter(|other| *other != id).collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

/// One node's door.
struct Door {
    id: u64,
    target: SocketAddr,
    rules: watch::Receiver<Rules>,
    pids: Pids,
}

impl Door {
    async fn accept(self, listener: TcpListener) {
        let door = Arc::new(self);
        while let Ok((knocking, _)) = listener.accept().await {
            tokio::spawn(door.clone().pass(knocking));
        }
    }

    /// Joins the two ends; whatever goes wrong ends the connection, as it would without a proxy.
    async fn pass(self: Arc<Self>, knocking: TcpStream) {
        let (Ok(local), Ok(remote)) = (knocking.local_addr(), knocking.peer_addr()) else { return };
        let Some(who) = self.who(remote, local).await else { return };
        let Ok(behind) = TcpStream::connect(self.target).await else { return };
        let _ = (knocking.set_nodelay(true), behind.set_nodelay(true));
        let (from_who, to_who) = knocking.into_split();
        let (from_here, to_here) = behind.into_split();
        tokio::join!(
            flow((who, self.id), self.rules.clone(), from_who, to_here),
            flow((self.id, who), self.rules.clone(), from_here, to_who),
        );
    }

    /// Which node holds the far end. Its process may have been started so lately that it is not known here yet.
    async fn who(&self, remote: SocketAddr, local: SocketAddr) -> Option<u64> {
        for _ in 0..RECOGNITION_ATTEMPTS {
            let pids = self.pids.lock().expect("nobody panics while holding it").clone();
            if let Some(id) = holder(&pids, remote, local) {
                return Some(id);
            }
            sleep(RECOGNITION_INTERVAL).await;
        }
        None
    }
}

/// Carries bytes one way until the end, as the rules of that direction allow.
async fn flow(
    direction: Direction,
    mut rules: watch::Receiver<Rules>,
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
) {
    let (held, mut pieces) = mpsc::channel::<(Instant, Bytes)>(HELD_PIECES);
    let delays = rules.clone();
    let reading = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let delay = delays.borrow().delay.get(&direction).copied().unwrap_or_default();
            if held.send((Instant::now() + delay, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if rules.wait_for(|rules| !rules.cut.contains(&direction)).await.is_err() {
                return;
            }
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Which of the processes holds the socket with these ends.
fn holder(pids: &BTreeMap<u64, u32>, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").expect("tests of partitions run on Linux");
    let (local, remote) = (kernel_spelling(local), kernel_spelling(remote));
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str()))
            .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))
            .flatten()
    })?;
    let holds = |pid: u32| {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == inode.as_str()))
    };
    pids.iter().find(|(_, pid)| holds(**pid)).map(|(id, _)| *id)
}

/// An address as `/proc/net/tcp` spells it: the bytes of the IP as one number of this machine, then the port.
fn kernel_spelling(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("tests use IPv4 on loopback") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const BRIEFLY: Duration = Duration::from_millis(200);

    /// Node 1 behind a door, and a connection of node 2 to it, which this process plays both.
    async fn connected() -> (Net, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let behind = [(1, listener.local_addr().unwrap()), (2, listener.local_addr().unwrap())];
        let net = Net::open(behind.into()).await;
        net.belongs_to(2, std::process::id());
        let here = TcpStream::connect(net.door(1)).await.unwrap();
        let (there, _) = listener.accept().await.unwrap();
        (net, here, there)
    }

    async fn arrives(at: &mut TcpStream, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        at.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn a_cut_direction_is_silent_until_it_is_healed_and_the_other_is_not() {
        let (net, mut here, mut there) = connected().await;
        here.write_all(b"before").await.unwrap();
        arrives(&mut there, b"before").await;

        net.cut(2, 1);
        here.write_all(b"held back").await.unwrap();
        timeout(BRIEFLY, there.read_u8()).await.expect_err("nothing arrives");
        there.write_all(b"the other way").await.unwrap();
        arrives(&mut here, b"the other way").await;

        net.heal();
        arrives(&mut there, b"held back").await;
    }

    #[tokio::test]
    async fn an_isolated_node_neither_speaks_nor_hears() {
        let (net, mut here, mut there) = connected().await;
        net.isolate(1);
        here.write_all(b"to it").await.unwrap();
        there.write_all(b"from it").await.unwrap();
        timeout(BRIEFLY, there.read_u8()).await.expect_err("nothing arrives");
        timeout(BRIEFLY, here.read_u8()).await.expect_err("nothing arrives");
    }

    #[tokio::test]
    async fn slow_pieces_arrive_late_and_in_order() {
        let (net, mut here, mut there) = connected().await;
        net.slow(BRIEFLY);
        let began = Instant::now();
        for piece in [b"one", b"two"] {
            here.write_all(piece).await.unwrap();
        }
        arrives(&mut there, b"onetwo").await;
        assert!(began.elapsed() >= BRIEFLY);
    }

    #[tokio::test]
    async fn a_connection_that_ends_on_one_side_ends_on_the_other() {
        let (_net, here, mut there) = connected().await;
        drop(here);
        there.read_u8().await.expect_err("the end of the stream");
    }
}
