//! Addresses to listen on, as people write them: `127.0.0.1:3000`, `:3000`, `localhost:3000`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};

/// Reads an address. Without a host it means all of this machine's IPv4 addresses; a name means the first of its own.
pub(super) fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong =
        || format!("`{text}` is not an address and port such as 127.0.0.1:3000, :3000 or localhost:3000");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    match host {
        "" => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "localhost" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        host if host.contains([' ', '/', '[', ']', ':']) => Err(wrong()),
        host => match (host, port).to_socket_addrs() {
            Ok(mut found) => found.next().ok_or_else(wrong),
            Err(error) => Err(format!("`{host}` has no address: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[::1]:3000", "[::1]:3000"),
            (":3000", "0.0.0.0:3000"),
            ("localhost:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()).as_deref(), Ok(address));
        }
        for text in ["", "3000", "127.0.0.1", "localhost", "localhost:x", "http://localhost:3000", "::1:3000"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("3000").unwrap_err().contains("such as 127.0.0.1:3000, :3000 or localhost:3000"));
    }
}
