//! What is said to a connection before it is closed, so that its client can read it.

use actix_web::rt::net::TcpStream;
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::PARTING;

/// Bytes read after it, so that the client reads it before the connection is reset.
const UNWANTED_BYTES_MAX: u64 = 64 << 10;

/// What is said to whoever speaks HTTP where TLS is spoken.
pub(super) const USE_TLS: &[u8] =
    b"HTTP/1.1 426 Upgrade Required\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
    upgrade: TLS/1.3, HTTP/1.1\r\nconnection: upgrade, close\r\ncontent-length: 82\r\n\r\n\
    {\"error\":\"tls_required\",\"message\":\"This port speaks TLS: https in place of http.\"}";

/// Waits for the first byte, and takes nothing: a method begins with a capital, and no record of TLS does (RFC 8446,
/// section 5.1).
pub(super) async fn is_in_the_clear(tcp: &TcpStream) -> bool {
    let mut first = [0; 1];
    matches!(tcp.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

/// Says it, if the system takes it at once, and waits for the client to close.
pub(super) async fn say(tcp: &mut TcpStream, answer: &[u8]) {
    // Not by `try_write`: the runtime does not know yet whether a new connection can be written to, and says no.
    let _ = rustix::net::send(&*tcp, answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let parted = async {
        let _ = tcp.shutdown().await;
        let mut unwanted = tcp.take(UNWANTED_BYTES_MAX);
        let _ = tokio::io::copy(&mut unwanted, &mut tokio::io::sink()).await;
    };
    let _ = timeout(PARTING, parted).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_its_length() {
        let text = std::str::from_utf8(USE_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
