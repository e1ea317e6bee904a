//! The file that says whose directory this is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, io_error};
use crate::raft::message;

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    version: u8,
    node: u64,
    cluster: String,
    storage: u128,
}

/// The format of the directory: of what is in this file, in the log and in the snapshots. It is raised with any of them.
const VERSION: u8 = 6;
/// Bytes of the checksum, CRC-32C, that ends it.
const CHECKSUM_BYTES: usize = 4;

/// Draws the storage number of a directory that has none.
pub(super) fn create(dir: &Path, node: u64, cluster: &str) -> Result<u128, Error> {
    let path = dir.join("identity");
    let identity = Identity { version: VERSION, node, cluster: cluster.to_owned(), storage: rand::random() };
    write(dir, &path, &encode(&identity)).map_err(io_error(&path))?;
    Ok(identity.storage)
}

/// The storage number of a directory, if it has one.
pub(super) fn open(dir: &Path, node: u64, cluster: &str) -> Result<Option<u128>, Error> {
    let path = dir.join("identity");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&path)(error)),
    };
    let identity = decode(&bytes, &path)?;
    if identity.node != node || identity.cluster != cluster {
        return Err(Error::Foreign {
            path: dir.display().to_string(),
            node: identity.node,
            cluster: identity.cluster,
            wanted: node,
            wanted_cluster: cluster.to_owned(),
        });
    }
    Ok(Some(identity.storage))
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut bytes = message::encode(identity);
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8], path: &Path) -> Result<Identity, Error> {
    let path = || path.display().to_string();
    // The version stands in front, and what follows it may differ in another one.
    if let Some(found) = bytes.first().copied().filter(|found| *found != VERSION) {
        let dir = path().trim_end_matches("/identity").to_owned();
        return Err(Error::Format { path: dir, found, wanted: VERSION });
    }
    let damaged = |why: &str| Error::Damaged { path: path(), error: why.to_owned() };
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("too short"))?;
    if crc32c::crc32c(content).to_be_bytes() != *sum {
        return Err(damaged("its checksum fails"));
    }
    message::decode(content).map_err(|_| damaged("unreadable"))
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_another_format_is_refused_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), 1, "blue").unwrap();
        let path = dir.path().join("identity");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] = VERSION - 1;
        fs::write(&path, &bytes).unwrap();

        let error = open(dir.path(), 1, "blue").unwrap_err().to_string();

        for words in [
            &*dir.path().display().to_string(),
            "format 5",
            "format 6",
            "stop all nodes, empty the data directory of each",
        ] {
            assert!(error.contains(words), "{error}");
        }
        assert!(!error.contains("damaged"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "it was not touched");
    }
}
