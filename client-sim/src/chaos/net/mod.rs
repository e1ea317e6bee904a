//! What stands between the nodes: a TCP proxy in front of each node's peer port.
//!
//! Everybody reaches node B by B's `proxy`, which finds out who connects. So a rule can be about one direction between
//! two nodes, nodes need know nothing of it, and no privilege is needed. How the rules bear on the bytes: `flow`.
//!
//! It is a proxy of TCP: packets that change places are put in order again below it, so reordering cannot be made
//! here, and neither can a packet that arrives twice.

mod flow;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use proxy::{PeerProxy, Pids, Table};

/// From one node to another.
type Direction = (u64, u64);

/// What one direction does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// Every piece takes so long.
    pub delay: Duration,
    /// And up to so much more or less.
    pub jitter: Duration,
    /// The chance that a piece is lost and has to be sent again, from 0 to less than 1.
    pub loss: f64,
    /// The chance that a piece ends its connection, from 0 to 1.
    pub reset: f64,
    /// No more than so much passes; without it, whatever comes.
    pub bytes_per_second: Option<u64>,
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ± {:?}, {:.0} % lost", self.delay, self.jitter, 100.0 * self.loss)?;
        if self.reset > 0.0 {
            write!(f, ", {:.0} % resets", 100.0 * self.reset)?;
        }
        match self.bytes_per_second {
            Some(rate) => write!(f, ", {rate} bytes a second"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Rules {
    cut: BTreeSet<Direction>,
    weather: BTreeMap<Direction, Weather>,
}

/// The proxies of all nodes, and the rules they follow.
#[derive(Debug)]
pub struct Net {
    rules: watch::Sender<Rules>,
    proxies: BTreeMap<u64, SocketAddr>,
    pids: Pids,
    table: Arc<Table>,
    accepting: Vec<AbortHandle>,
}

impl Net {
    /// Opens a proxy in front of each node's peer port.
    pub async fn open(behind: BTreeMap<u64, SocketAddr>) -> io::Result<Self> {
        let rules = watch::Sender::new(Rules::default());
        let pids: Pids = Arc::new(Mutex::new(BTreeMap::new()));
        let table = Arc::new(Table::default());
        let mut net = Self { rules, proxies: BTreeMap::new(), pids, table, accepting: Vec::new() };
        for (id, target) in behind {
            net.add(id, target).await?;
        }
        Ok(net)
    }

    /// Opens a proxy in front of one more node's peer port.
    pub async fn add(&mut self, id: u64, target: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        self.proxies.insert(id, address);
        let proxy = PeerProxy {
            id,
            target,
            rules: self.rules.subscribe(),
            pids: self.pids.clone(),
            table: self.table.clone(),
        };
        self.accepting.push(tokio::spawn(proxy.accept(listener)).abort_handle());
        Ok(address)
    }

    /// The address under which others reach a node.
    pub fn address(&self, id: u64) -> SocketAddr {
        self.proxies[&id]
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
        self.rules.send_modify(|rules| {
            for other in self.others(id) {
                rules.cut.extend([(id, other), (other, id)]);
            }
        });
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
        self.weather(Weather { delay: by, ..Weather::default() });
    }

    /// The same weather between any two nodes.
    pub fn weather(&self, weather: Weather) {
        let directions = self.proxies.keys().flat_map(|from| self.proxies.keys().map(|to| (*from, *to)));
        let everywhere = directions.map(|direction| (direction, weather)).collect();
        self.rules.send_modify(|rules| rules.weather = everywhere);
    }

    /// Lifts all rules; what was held back arrives now.
    pub fn heal(&self) {
        self.rules.send_replace(Rules::default());
    }

    fn others(&self, id: u64) -> Vec<u64> {
        self.proxies.keys().copied().filter(|other| *other != id).collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::{Instant, timeout};

    use super::*;

    const BRIEFLY: Duration = Duration::from_millis(200);

    /// Node 1 behind a proxy, and a connection of node 2 to it, which this process plays both.
    async fn connected() -> (Net, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let behind = [(1, listener.local_addr().unwrap()), (2, listener.local_addr().unwrap())];
        let net = Net::open(behind.into()).await.unwrap();
        net.belongs_to(2, std::process::id());
        let here = TcpStream::connect(net.address(1)).await.unwrap();
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
    async fn what_is_lost_arrives_late_and_whole() {
        let (net, mut here, mut there) = connected().await;
        net.weather(Weather { loss: 0.5, ..Weather::default() });
        let sent: Vec<u8> = (0..=255).collect();
        for piece in sent.chunks(32) {
            here.write_all(piece).await.unwrap();
        }
        arrives(&mut there, &sent).await;
    }

    #[tokio::test]
    async fn a_narrow_way_takes_as_long_as_its_bytes_need() {
        let (net, mut here, mut there) = connected().await;
        net.weather(Weather { bytes_per_second: Some(100_000), ..Weather::default() });
        let began = Instant::now();
        let sent = vec![7; 50_000];
        here.write_all(&sent).await.unwrap();
        arrives(&mut there, &sent).await;
        assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_reset_ends_the_connection_on_both_sides() {
        let (net, mut here, mut there) = connected().await;
        net.weather(Weather { reset: 1.0, ..Weather::default() });
        here.write_all(b"the last").await.unwrap();
        here.read_u8().await.expect_err("the end of the stream");
        there.read_u8().await.expect_err("the end of the stream");
    }

    #[tokio::test]
    async fn a_connection_that_ends_on_one_side_ends_on_the_other() {
        let (_net, here, mut there) = connected().await;
        drop(here);
        there.read_u8().await.expect_err("the end of the stream");
    }
}
