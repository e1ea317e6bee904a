//! What files of keys have about them that their readers trip over.

/// The byte order mark that some editors begin a file with, in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Takes the byte order mark off, which is no part of a secret, and no PEM.
pub fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    bytes
}

/// Whether a private key is encrypted: as PKCS #8 has it (RFC 7468, section 11), or as OpenSSL did before.
pub fn is_encrypted(pem: &[u8]) -> bool {
    let has = |part: &[u8]| pem.windows(part.len()).any(|window| window == part);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// What is said of a file whose private key is one.
pub const ENCRYPTED: &str =
    "the private key is encrypted, and a node takes keys without a passphrase: `openssl pkey` writes one";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mark_goes_and_only_in_front() {
        assert_eq!(without_mark(b"\xef\xbb\xbfa\xef\xbb\xbf".to_vec()), b"a\xef\xbb\xbf");
        assert_eq!(without_mark(b"\xef\xbb".to_vec()), b"\xef\xbb");
        assert_eq!(without_mark(Vec::new()), b"");
    }

    #[test]
    fn an_encrypted_key_is_known_in_either_form() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII"));
        assert!(is_encrypted(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\nMII") && !is_encrypted(b""));
    }
}
