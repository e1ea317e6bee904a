//! A proxy in front of one node's peer port: it joins a connection with the node once it knows which node it is from.
//!
//! It asks the kernel: the connection's other end is a socket, the socket has an inode, and `/proc` shows which process
//! holds it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::Rules;
use super::flow::flow;

/// Which process each node is.
pub(super) type Pids = Arc<Mutex<BTreeMap<u64, u32>>>;

/// For a process to be known here.
const RECOGNITION: Duration = Duration::from_secs(1);
const RECOGNITION_INTERVAL: Duration = Duration::from_millis(20);

/// One node's proxy.
pub(super) struct PeerProxy {
    pub(super) id: u64,
    pub(super) target: SocketAddr,
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) pids: Pids,
    pub(super) table: Arc<Table>,
}

impl PeerProxy {
    pub(super) async fn accept(self, listener: TcpListener) {
        let proxy = Arc::new(self);
        while let Ok((arriving, _)) = listener.accept().await {
            tokio::spawn(proxy.clone().join(arriving));
        }
    }

    /// Joins the two ends; whatever goes wrong ends the connection, as it would without a proxy.
    async fn join(self: Arc<Self>, arriving: TcpStream) {
        let (Ok(local), Ok(remote)) = (arriving.local_addr(), arriving.peer_addr()) else { return };
        let Some(who) = self.who(remote, local).await else { return };
        let Ok(behind) = TcpStream::connect(self.target).await else { return };
        let _ = (arriving.set_nodelay(true), behind.set_nodelay(true));
        let (from_who, to_who) = arriving.into_split();
        let (from_here, to_here) = behind.into_split();
        // Each way ends by itself at the end of its stream; a reset ends both at once.
        let _ = tokio::try_join!(
            flow((who, self.id), self.rules.clone(), from_who, to_here),
            flow((self.id, who), self.rules.clone(), from_here, to_who),
        );
    }

    /// Which node holds the far end. Its process may have been started so lately that it is not known here yet.
    async fn who(&self, remote: SocketAddr, local: SocketAddr) -> Option<u64> {
        let arrived = Instant::now();
        while arrived.elapsed() < RECOGNITION {
            let table = self.table.since(Instant::now()).await?;
            let pids = self.pids.lock().expect("nobody panics while holding it").clone();
            let found = spawn_blocking(move || holder(&table, &pids, remote, local)).await.ok()?;
            if found.is_some() {
                return found;
            }
            sleep(RECOGNITION_INTERVAL).await;
        }
        None
    }
}

/// What the kernel last said of all connections on the machine, and when it was asked.
#[derive(Debug, Default)]
pub(super) struct Table(tokio::sync::Mutex<Option<(Instant, Arc<str>)>>);

impl Table {
    /// What it says at `since` or later. On a machine with tens of thousands of connections that takes a while, so it
    /// is asked off the runtime, and all who wait meanwhile share the answer.
    async fn since(&self, since: Instant) -> Option<Arc<str>> {
        let mut last = self.0.lock().await;
        if let Some((_, table)) = last.as_ref().filter(|(asked, _)| *asked >= since) {
            return Some(table.clone());
        }
        let asked = Instant::now();
        let table = spawn_blocking(|| fs::read_to_string("/proc/net/tcp")).await.ok()?.ok()?;
        let table: Arc<str> = table.into();
        *last = Some((asked, table.clone()));
        Some(table)
    }
}

/// Which of the processes holds the socket with these ends.
fn holder(table: &str, pids: &BTreeMap<u64, u32>, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
    let ends = format!(" {} {} ", kernel_spelling(local)?, kernel_spelling(remote)?);
    let at = table.find(&ends)? + ends.len();
    let inode = table[at..].split_whitespace().nth(6)?;
    let link = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|name| name.as_os_str() == link.as_str()))
    };
    pids.iter().find(|(_, pid)| holds(**pid)).map(|(id, _)| *id)
}

/// An address as `/proc/net/tcp` spells it: the bytes of the IP as one number of this machine, then the port.
fn kernel_spelling(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}
