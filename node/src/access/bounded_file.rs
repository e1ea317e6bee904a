//! Small files that hold secrets, keys and lists.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use conclave_cluster::wire::pem_file::without_mark;

/// The bytes of a file of bounded size, without the byte order mark that some editors put in front.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if read as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {bytes_max} bytes"),
        ));
    }
    Ok(without_mark(bytes))
}

/// Editors and `echo` leave a line's end that is no part of a secret.
pub(crate) fn without_line_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_end_goes() {
        assert_eq!(without_line_end(b"a\nb\r\n\n"), b"a\nb");
        assert_eq!(without_line_end(b"\n"), b"");
        assert_eq!(without_line_end(b" a "), b" a ");
    }

    #[test]
    fn a_file_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abcd").unwrap();
        assert_eq!(read(file.path(), 4).unwrap(), b"abcd");
        std::fs::write(file.path(), b"\xef\xbb\xbfa").unwrap();
        assert_eq!(read(file.path(), 4).unwrap(), b"a");
        assert_eq!(read(file.path(), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
