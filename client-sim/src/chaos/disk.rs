//! A small disk for one node: a file with an ext4 in it, mounted by way of a loop device.
//!
//! Such a disk can be full, stall and lose its power without harm to the machine's own. It takes root; kernels without
//! device mapper have nothing finer.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use super::error::During as _;
use super::tools::{run, run_blocking};

const FILLING: &str = "ballast";
const FILLING_BYTES: usize = 1 << 20;

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    frozen: bool,
}

impl Disk {
    /// Makes a disk of so many bytes and mounts it at `mount`.
    pub async fn make(mount: &Path, bytes: u64) -> Result<Self, Error> {
        let image = mount.with_extension("img");
        fs::create_dir_all(mount).during(|| format!("a folder for {}", mount.display()))?;
        let file = File::create(&image).during(|| format!("the image {}", image.display()))?;
        file.set_len(bytes).during(|| "the image's length".to_owned())?;
        run("mkfs.ext4", ["-q".as_ref(), "-m".as_ref(), "0".as_ref(), "-F".as_ref(), image.as_os_str()])
            .await?;
        let disk = Self { image, mount: mount.to_owned(), frozen: false };
        disk.mount().await?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    async fn mount(&self) -> Result<(), Error> {
        run("mount", ["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), self.mount.as_os_str()])
            .await?;
        Ok(())
    }

    /// Everybody who writes to it waits until it is thawed.
    pub async fn freeze(&mut self) -> Result<(), Error> {
        run("fsfreeze", ["-f".as_ref(), self.mount.as_os_str()]).await?;
        self.frozen = true;
        Ok(())
    }

    /// Lets writers go on.
    pub async fn thaw(&mut self) -> Result<(), Error> {
        if self.frozen {
            run("fsfreeze", ["-u".as_ref(), self.mount.as_os_str()]).await?;
            self.frozen = false;
        }
        Ok(())
    }

    /// As [`Disk::thaw`], where nothing may be awaited.
    pub(super) fn thaw_now(&mut self) {
        if self.frozen {
            run_blocking("fsfreeze", &["-u".as_ref(), self.mount.as_os_str()]);
            self.frozen = false;
        }
    }

    /// Cuts the power: from now on every access fails, and what was not flushed is gone.
    pub async fn cut_power(&self) -> Result<(), Error> {
        run("xfs_io", ["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), self.mount.as_os_str()]).await?;
        Ok(())
    }

    /// Gives it power again. Nobody may have a file of it open any more.
    pub async fn power_on(&self) -> Result<(), Error> {
        run("umount", [self.mount.as_os_str()]).await?;
        self.mount().await
    }

    /// Leaves no byte free.
    pub async fn fill(&self) -> Result<(), Error> {
        let path = self.mount.join(FILLING);
        tokio::task::spawn_blocking(move || fill(&path))
            .await
            .map_err(|error| Error::Tool(error.to_string()))?
            .during(|| "filling a disk".to_owned())
    }

    /// Takes back what [`Disk::fill`] took.
    pub fn relieve(&self) -> Result<(), Error> {
        match fs::remove_file(self.mount.join(FILLING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io("emptying a disk".to_owned(), error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut piece = FILLING_BYTES;
    let zeros = vec![0; piece];
    // Down to the single byte: a write that fits takes what is left.
    while piece > 0 {
        match file.write_all(&zeros[..piece]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => piece /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw_now();
        unmount(&self.mount);
        // What is left behind is swept with its folder.
        let _ = fs::remove_file(&self.image);
    }
}

fn unmount(mount: &Path) {
    // Lazily, where somebody still has a file open.
    let _ = run_blocking("umount", &[mount.as_os_str()])
        || run_blocking("umount", &["-l".as_ref(), mount.as_os_str()]);
}

/// Unmounts everything that is mounted under a folder: what a killed run has left behind.
pub fn sweep(folder: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/mounts") else { return };
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for mount in places.filter(|mount| mount.starts_with(folder)) {
        run_blocking("fsfreeze", &["-u".as_ref(), mount.as_os_str()]);
        unmount(mount);
    }
}
