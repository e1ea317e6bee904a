//! The file that says whose directory this is.

use std::fs::{self, File};
use std::io::{self, Write as _};
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

const VERSION: u8 = 1;

/// The storage number of a directory, and whether it was drawn just now.
pub(super) fn open(dir: &Path, node: u64, cluster: &str) -> Result<(u128, bool), Error> {
    let path = dir.join("identity");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity =
                Identity { version: VERSION, node, cluster: cluster.to_owned(), storage: rand::random() };
            write(dir, &path, &message::encode(&identity)).map_err(io_error(&path))?;
            return Ok((identity.storage, true));
        }
        Err(error) => return Err(io_error(&path)(error)),
    };
    let identity: Identity = message::decode(&bytes)
        .ok()
        .filter(|identity: &Identity| identity.version == VERSION)
        .ok_or_else(|| Error::Damaged { path: path.display().to_string(), error: "unreadable".into() })?;
    if identity.node != node || identity.cluster != cluster {
        return Err(Error::Foreign {
            path: dir.display().to_string(),
            node: identity.node,
            cluster: identity.cluster,
            wanted: node,
            wanted_cluster: cluster.to_owned(),
        });
    }
    Ok((identity.storage, false))
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(dir)?.sync_all()
}
