//! A door: it joins whoever knocks with the node behind it, once it knows who that is.
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
use tokio::time::sleep;

use super::Rules;
use super::flow::flow;

/// Which process each node is.
pub(super) type Pids = Arc<Mutex<BTreeMap<u64, u32>>>;

const RECOGNITION_ATTEMPTS: u32 = 50;
const RECOGNITION_INTERVAL: Duration = Duration::from_millis(20);

/// One node's door.
pub(super) struct Door {
    pub(super) id: u64,
    pub(super) target: SocketAddr,
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) pids: Pids,
}

impl Door {
    pub(super) async fn accept(self, listener: TcpListener) {
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
        // Each way ends by itself at the end of its stream; a reset ends both at once.
        let _ = tokio::try_join!(
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

/// Which of the processes holds the socket with these ends; nobody is recognised where there is no `/proc`.
fn holder(pids: &BTreeMap<u64, u32>, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (kernel_spelling(local)?, kernel_spelling(remote)?);
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
fn kernel_spelling(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}
