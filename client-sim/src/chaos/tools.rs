//! Programs and libraries of others: looked up when a schedule needs them, never linked.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::Error;

/// What a schedule may need of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Need {
    /// Mounting file systems: the rights of root, and the programs for it.
    Root,
    /// `xfs_io`, which can shut a file system down as a power cut does.
    XfsIo,
    /// libfaketime, which sets a process's wall clock.
    Faketime,
    /// libfiu, which makes a process's system calls fail.
    Fiu,
    /// Another version of the server.
    OtherVersion,
}

/// Where Debian and others put libfaketime; the variant for threads.
const FAKETIME: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];
const FIU: [&str; 2] = ["/usr/lib/fiu", "/usr/local/lib/fiu"];
const FIU_LIBRARIES: [&str; 2] = ["fiu_run_preload.so", "fiu_posix_preload.so"];

impl Need {
    /// What is missing of it, in words for people; `None` if nothing is. `other` is the other version of the server.
    pub fn missing(self, other: Option<&Path>) -> Option<String> {
        match self {
            Self::Root if !rustix::process::geteuid().is_root() => Some("the rights of root".to_owned()),
            Self::Root => ["mkfs.ext4", "mount", "umount", "fsfreeze"].into_iter().find_map(no_program),
            Self::XfsIo => no_program("xfs_io").map(|why| format!("{why} (Debian: xfsprogs)")),
            Self::Faketime => faketime().is_none().then(|| "libfaketime (Debian: faketime)".to_owned()),
            Self::Fiu => (fiu().is_none() || program("fiu-ctrl").is_none())
                .then(|| "libfiu (Debian: fiu-utils)".to_owned()),
            Self::OtherVersion => {
                let is_there = other.is_some_and(Path::is_file);
                (!is_there).then(|| "other version of the server (name one with --other)".to_owned())
            }
        }
    }
}

fn no_program(name: &str) -> Option<String> {
    program(name).is_none().then(|| format!("the program {name}"))
}

/// Where a program is, also among those for administrators.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(beside).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The library that sets clocks.
pub fn faketime() -> Option<&'static Path> {
    FAKETIME.into_iter().map(Path::new).find(|path| path.exists())
}

/// The libraries that make system calls fail.
pub fn fiu() -> Option<[PathBuf; 2]> {
    let folder = FIU.into_iter().map(Path::new).find(|folder| folder.join(FIU_LIBRARIES[1]).exists())?;
    Some(FIU_LIBRARIES.map(|library| folder.join(library)))
}

/// Runs a program to its end; what it said is the error.
pub async fn run(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, Error> {
    let path = program(name).ok_or_else(|| Error::Tool(format!("{name} is not installed")))?;
    run_at(&path, args).await
}

/// As [`run`], for a program whose place is known.
pub async fn run_at(path: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Error::Tool(format!("{name} could not be run: {error}")))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(Error::Tool(format!("{name}: {said}"))) }
}

/// As [`run`], where nothing may be awaited, as in a `Drop`.
pub(super) fn run_blocking(name: &str, args: &[&OsStr]) -> bool {
    let Some(path) = program(name) else { return false };
    let mut command = std::process::Command::new(path);
    let command = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
