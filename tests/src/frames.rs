//! Greetings and frames of the peer port, spelled out byte by byte. The fuzzer of that port spells them with this file, too.

/// Who a stranger claims to be.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The cluster's name.
    pub cluster: String,
    /// The id it gives itself.
    pub from: u64,
    /// The node it speaks to.
    pub to: u64,
    /// Whether it says that it will prove to have the secret.
    pub proves: bool,
    /// The number of the disk that it names.
    pub disk: u128,
}

/// What a greeting says, without the frame around it.
pub fn hello(claim: &Claim) -> Vec<u8> {
    let mut hello = b"conclave".to_vec();
    hello.extend([0, 7, 0, 7]);
    hello.extend(claim.from.to_be_bytes());
    hello.extend(claim.to.to_be_bytes());
    hello.push(0);
    hello.extend([7; 8]);
    hello.push(u8::from(claim.proves));
    hello.extend([9; 32]);
    hello.extend(claim.cluster.as_bytes());
    hello
}

/// A frame within the first cell, with its length and checksum.
pub fn frame(role: u8, kind: u8, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, role, 0, 1];
    body.extend(1u64.to_be_bytes());
    body.extend((header.len() as u32).to_be_bytes());
    body.extend(header);
    body.extend(payload);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}
