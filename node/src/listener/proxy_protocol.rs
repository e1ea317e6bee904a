//! For whom a proxy connects, as it says in the header of the PROXY protocol before its client's first byte (HAProxy's
//! proxy-protocol.txt, versions 1 and 2).
//!
//! Nothing is guessed: connections from the networks in `http.proxy_protocol` begin with a header, others never do. Where a
//! header may be left out, the clients of a proxy that sends none can write it themselves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use proxy_header::{ParseConfig, Protocol, ProxyHeader, Tlv};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::last_word;
use super::seldom::Seldom;
use crate::access::Network;

/// Connections that had to begin with a header, by what became of it.
const HEADERS: &str = "conclave_proxy_headers_total";

/// Longer headers are refused. Most have less than 100 bytes; the rest is room for what a proxy adds about TLS.
const BYTES_MAX: usize = 4096;
/// With what a header of version 1 begins, and its length (section 2.1).
const V1: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
/// With what a header of version 2 begins, and the length of its fixed part (section 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// What is said before the connection is closed, if it is not to be under TLS.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
    connection: close\r\ncontent-length: 110\r\n\r\n\
    {\"error\":\"invalid_input\",\"message\":\"Connections from this address begin with a header of the PROXY protocol.\"}";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    /// The client. `None`: the proxy itself, which looks whether this node is well, or it does not know.
    pub(super) client: Option<SocketAddr>,
    /// Whether the client speaks TLS with the proxy.
    pub(super) secured: bool,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// What came is no header.
    Wrong,
    /// It was not there in time.
    Late,
    /// The connection ended before it was there.
    Ended,
}

/// Who sends headers.
#[derive(Debug)]
pub(super) struct Prefaces {
    networks: Vec<Network>,
    refused: Seldom,
}

impl Prefaces {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self { networks, refused: Seldom::default() }
    }

    /// Whether connections from this address begin with a header.
    pub(super) fn are_sent_by(&self, address: SocketAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address.ip()))
    }

    /// Reads the header that a connection begins with, and nothing behind it. `None` if it has none within `patience`; then
    /// all was said, in the clear if it may be.
    pub(super) async fn read(
        &self,
        tcp: &mut TcpStream,
        from: SocketAddr,
        patience: Duration,
        in_the_clear: bool,
    ) -> Option<Announced> {
        let read = timeout(patience, read(tcp)).await.unwrap_or(Err(Fault::Late));
        let result = match read {
            Ok(Announced { client: Some(_), .. }) => "done",
            Ok(Announced { client: None, .. }) => "local",
            Err(Fault::Wrong) => "wrong",
            Err(Fault::Late) => "late",
            Err(Fault::Ended) => "ended",
        };
        metrics::counter!(HEADERS, "result" => result).increment(1);
        let fault = match read {
            Ok(announced) => return Some(announced),
            Err(fault) => fault,
        };
        // Whoever only looks whether the port is open ends so, too.
        if fault != Fault::Ended
            && let Some(count) = self.refused.another(Instant::now())
        {
            tracing::warn!(
                address = %from.ip(), count, result,
                "connections refused: http.proxy_protocol says that this proxy sends a header of the PROXY protocol, and it does not"
            );
        }
        if in_the_clear {
            last_word::say(tcp, ANSWER).await;
        }
        None
    }
}

async fn read(tcp: &mut TcpStream) -> Result<Announced, Fault> {
    let mut bytes = Vec::with_capacity(V1_BYTES_MAX);
    loop {
        let missing = missing(&bytes)?;
        if missing == 0 {
            return announced(&bytes);
        }
        let at = bytes.len();
        bytes.resize(at + missing, 0);
        tcp.read_exact(&mut bytes[at..]).await.map_err(|_| Fault::Ended)?;
    }
}

/// How many more bytes belong to a header that begins with these, at the least; none if it is whole.
fn missing(bytes: &[u8]) -> Result<usize, Fault> {
    if bytes.is_empty() {
        // Headers of either version are longer.
        return Ok(V2.len());
    }
    if bytes.starts_with(V2) {
        if bytes.len() < V2_FIXED_BYTES {
            return Ok(V2_FIXED_BYTES - bytes.len());
        }
        let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        return if length > BYTES_MAX { Err(Fault::Wrong) } else { Ok(length.saturating_sub(bytes.len())) };
    }
    if !bytes.starts_with(V1) || bytes.len() > V1_BYTES_MAX {
        return Err(Fault::Wrong);
    }
    match bytes {
        [.., b'\r', b'\n'] => Ok(0),
        _ if bytes.contains(&b'\n') => Err(Fault::Wrong),
        [.., b'\r'] => Ok(1),
        _ => Ok(2),
    }
}

/// What a whole header says.
fn announced(bytes: &[u8]) -> Result<Announced, Fault> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).map_err(|_| Fault::Wrong)?;
    if length != bytes.len() {
        return Err(Fault::Wrong);
    }
    let client = match header.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => Some(address.source),
        Some(_) => return Err(Fault::Wrong),
        None => None,
    };
    let secured = header.tlvs().any(|tlv| matches!(tlv, Ok(Tlv::Ssl(ssl)) if ssl.client_ssl()));
    Ok(Announced { client, secured })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proxy_header::{ProxiedAddress, SslInfo};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn version_2(client: &str, tlvs: Vec<Tlv<'_>>) -> Vec<u8> {
        let client: SocketAddr = client.parse().unwrap();
        let own = if client.is_ipv4() { "10.0.0.1:3000" } else { "[2001:db8::1]:3000" };
        let address = ProxiedAddress::stream(client, own.parse().unwrap());
        let mut bytes = Vec::new();
        ProxyHeader::with_tlvs(Some(address), tlvs).encode_v2(&mut bytes).unwrap();
        bytes
    }

    /// Reads a header as a connection would: as many bytes as are missing, until none is. What was left unread comes with it.
    fn read_all(bytes: &[u8]) -> Result<(Announced, &[u8]), Fault> {
        let mut read = 0;
        loop {
            match missing(&bytes[..read])? {
                0 => return announced(&bytes[..read]).map(|announced| (announced, &bytes[read..])),
                missing => read += missing,
            }
            if read > bytes.len() {
                return Err(Fault::Ended);
            }
        }
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n";

    #[test]
    fn a_header_is_read_and_nothing_behind_it() {
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 3000\r\n".to_vec(), Some("192.0.2.7:4711")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 3000\r\n".to_vec(), Some("[2001:db8::7]:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), None),
            (version_2("192.0.2.7:4711", vec![]), Some("192.0.2.7:4711")),
            (version_2("[2001:db8::7]:4711", vec![Tlv::Noop(1000)]), Some("[2001:db8::7]:4711")),
            // LOCAL, as health checks say it.
            ([V2, b"\x20\x00\x00\x00"].concat(), None),
        ] {
            let bytes = [&header, REQUEST].concat();
            let (announced, rest) = read_all(&bytes).unwrap();
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(announced, Announced { client, secured: false });
            assert_eq!(rest, REQUEST);
        }
    }

    #[test]
    fn the_proxy_says_whether_its_client_speaks_tls() {
        let told = |client_ssl| {
            let tlvs = vec![Tlv::Noop(3), Tlv::Ssl(SslInfo::new(client_ssl, false, false, 0))];
            read_all(&version_2("192.0.2.7:4711", tlvs)).unwrap().0.secured
        };
        assert!(told(true) && !told(false));
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_is_seen() {
        let long = [V2, b"\x21\x11\xff\xff"].concat();
        for wrong in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 3000\nGET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.300 10.0.0.1 4711 3000\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 10.0.0.1 4711 3000\r\n".to_vec(),
            b"PROXYxTCP4 192.0.2.7 10.0.0.1 4711 3000\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            long,
            // Another version, and a datagram.
            [V2, b"\x31\x11\x00\x0c", &[0; 12]].concat(),
            [V2, b"\x21\x12\x00\x0c", &[0; 12]].concat(),
            // Shorter than its addresses.
            [V2, b"\x21\x11\x00\x04", &[0; 4]].concat(),
        ] {
            assert_eq!(read_all(&wrong).unwrap_err(), Fault::Wrong, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_header_never_takes_more_than_its_bound() {
        let begun = [V2, b"\x21\x11\x0f\xf0"].concat();
        assert_eq!(missing(&begun), Ok(BYTES_MAX - V2_FIXED_BYTES));
        assert_eq!(missing(&[V2, b"\x21\x11\x0f\xf1"].concat()), Err(Fault::Wrong));
    }

    #[test]
    fn the_answer_has_its_length() {
        let answer = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"] == "invalid_input");
    }

    #[actix_web::test]
    async fn who_says_nothing_is_not_waited_for() {
        let listener =
            tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, from) = listener.accept().await.unwrap();
        let prefaces = Prefaces::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(prefaces.are_sent_by(from) && !prefaces.are_sent_by("192.0.2.1:80".parse().unwrap()));
        client.write_all(b"PROXY TCP4 ").await.unwrap();
        let (read, told) =
            tokio::join!(prefaces.read(&mut server, from, Duration::from_millis(20), true), async {
                let mut told = Vec::new();
                client.read_to_end(&mut told).await.unwrap();
                drop(client);
                told
            });
        assert_eq!(read, None);
        assert_eq!(told, ANSWER);
    }
}
