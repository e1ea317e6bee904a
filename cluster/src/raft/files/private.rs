//! Directories and files that only their owner reads, whatever the umask and whatever they were before.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

const DIRECTORY: u32 = 0o700;
const FILE: u32 = 0o600;

/// What a data directory has in it, the admin listener's token among it, and what a file system of its own adds.
const OURS: [&str; 6] = ["admin-token", "identity", "identity.part", "log", "snapshot", "lost+found"];

/// Makes the data directory, or closes the one that is there.
///
/// One that holds other things, too, stays as it is, and what is ours in it is closed: it may be anything, even the root of the
/// system.
pub(super) fn root(dir: &Path) -> io::Result<()> {
    make(dir)?;
    let mut ours = true;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        ours &= OURS.iter().any(|known| name == *known);
    }
    if ours {
        close(dir, DIRECTORY);
    } else {
        tracing::warn!(path = %dir.display(), "the data directory holds other things, too, and stays open to others");
    }
    let identity = dir.join("identity");
    if identity.exists() {
        close(&identity, FILE);
    }
    Ok(())
}

/// Makes a directory of ours alone, or closes the one that is there, and the files in it.
pub(super) fn directory(dir: &Path) -> io::Result<()> {
    make(dir)?;
    close(dir, DIRECTORY);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            close(&entry.path(), FILE);
        }
    }
    Ok(())
}

fn make(dir: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(dir);
    made.map_err(|error| match error.kind() {
        // Only what is no directory is in the way of one.
        io::ErrorKind::AlreadyExists => {
            let in_the_way = dir.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(dir);
            let what = if in_the_way == dir { "it".to_owned() } else { in_the_way.display().to_string() };
            let why = format!("{what} is no directory, or a link to one that is not there");
            io::Error::new(io::ErrorKind::NotADirectory, why)
        }
        _ => error,
    })
}

/// What belongs to somebody else, as a volume of a container may, stays as it is: who gave it to this process decides who
/// else reads it. It is warned about.
fn close(path: &Path, mode: u32) {
    let closed = fs::metadata(path).and_then(|metadata| {
        if metadata.permissions().mode() & 0o777 & !mode == 0 {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    });
    if let Err(error) = closed {
        let path = path.display();
        tracing::warn!(%path, %error, "others may read this, and the permissions cannot be changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_directory_is_named() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(home.path().join("gone"), &link).unwrap();
        let named = link.display().to_string();
        for (dir, what) in [(&file, "it"), (&link, "it"), (&link.join("below"), named.as_str())] {
            let error = root(dir).unwrap_err();
            let why = format!("{what} is no directory, or a link to one that is not there");
            assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::NotADirectory, why));
        }
    }

    #[test]
    fn a_directory_with_what_a_node_puts_there_is_closed_and_one_with_other_things_is_not() {
        for (name, closed) in [("admin-token", true), ("identity", true), ("notes.txt", false)] {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("data");
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
            fs::write(dir.join(name), "").unwrap();
            root(&dir).unwrap();
            let mode = fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode == 0o700, closed, "{name}: {mode:o}");
        }
    }
}
