//! A node in this process, for targets that speak to its ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use conclave_node::config::{self, Environment, Sources};
use conclave_node::serve;

/// A node may take so long to start.
const READY: Duration = Duration::from_secs(20);
/// A node may take so long to answer, or to end a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it listens.
pub struct Node {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub peer: SocketAddr,
}

impl Node {
    /// Starts a node with these settings on an empty directory, and waits until it is ready. `name` is the target's.
    pub fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz/nodes").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the target directory is writable");
        let node = Self { public: free(), admin: free(), peer: free() };
        let mut flags = vec![
            ("node.data_dir", folder.display().to_string()),
            ("http.listen", node.public.to_string()),
            ("admin.listen", node.admin.to_string()),
            ("cluster.listen", node.peer.to_string()),
            ("log.level", "error".to_owned()),
            // What bounds one client would end the search.
            ("allowance.enabled", "false".to_owned()),
            ("shares.enabled", "false".to_owned()),
        ];
        flags.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let flags = flags.into_iter().map(|(key, value)| ("--set".to_owned(), key.to_owned(), value));
        let sources = Sources { flags: flags.collect(), ..Sources::default() };
        let config = config::load(&sources).expect("the settings are in order").config;
        thread::spawn(move || {
            let ended = serve::run(&config, &Environment::default());
            panic!("the node ended: {ended:?}");
        });
        let until = Instant::now() + READY;
        while !ask(node.public, "/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "the node does not become ready");
            thread::sleep(Duration::from_millis(20));
        }
        node
    }
}

/// What comes back for these bytes until the connection ends. The second piece goes by itself.
pub fn converse(address: SocketAddr, pieces: [&[u8]; 2]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_nodelay(true).expect("a socket can be set");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be set");
    for piece in pieces {
        // A node that has refused what came before may have ended the connection.
        let _ = stream.write_all(piece);
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
            panic!("the connection does not end; so far {:?}", String::from_utf8_lossy(&answers))
        }
        // A reset ends it as well.
        Ok(_) | Err(_) => answers,
    }
}

/// The answer to a `GET`; empty if there is none.
pub fn ask(address: SocketAddr, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound")
}
