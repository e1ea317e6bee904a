//! A cgroup for each node, of version 1 (the `memory` hierarchy) or 2, so that a node that takes too much memory dies of it
//! and nothing else does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Groups that this process has made: several may be there at once.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Why there are no cgroups to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No hierarchy with the memory controller is mounted.
    #[error("no cgroup hierarchy with the memory controller is mounted; --no-cgroup does without")]
    None,
    /// It may not be written, or the controller is not delegated.
    #[error(
        "{path}: {error}; run as root, or under `systemd-run --user --scope -p Delegate=yes`, or use --no-cgroup"
    )]
    Denied {
        /// What was written or made.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A group of our own, in which each node gets one. It is removed when this is dropped, once the nodes have ended.
#[derive(Debug)]
pub struct Hierarchy {
    version: Version,
    home: PathBuf,
    nodes: Vec<PathBuf>,
}

impl Hierarchy {
    /// Makes a group for so many nodes, each of which may take so much memory, swap included.
    ///
    /// # Errors
    /// If there is no memory controller, or it cannot be used.
    pub fn make(nodes: u64, bytes_max: u64) -> Result<Self, Error> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (version, parent) = find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let home = parent.join(format!("conclave-siege-{}-{number}", std::process::id()));
        if version == Version::Two {
            write(&parent.join("cgroup.subtree_control"), "+memory")?;
        }
        make(&home)?;
        let mut this = Self { version, home, nodes: Vec::new() };
        if version == Version::Two {
            write(&this.home.join("cgroup.subtree_control"), "+memory")?;
        }
        for id in 1..=nodes {
            let node = this.node(id);
            make(&node)?;
            this.nodes.push(node.clone());
            match version {
                Version::One => {
                    write(&node.join("memory.limit_in_bytes"), &bytes_max.to_string())?;
                    // Only where swap is accounted for.
                    let _ = fs::write(node.join("memory.memsw.limit_in_bytes"), bytes_max.to_string());
                }
                Version::Two => {
                    write(&node.join("memory.max"), &bytes_max.to_string())?;
                    let _ = fs::write(node.join("memory.swap.max"), "0");
                }
            }
        }
        Ok(this)
    }

    /// By which a shell that is called `node-<id>` goes into that node's group. It becomes the node then, so that not a byte
    /// of it is counted elsewhere.
    pub fn prelude(&self) -> String {
        format!("echo $$ >'{}'/\"$0\"/cgroup.procs", self.home.display())
    }

    /// The most that a node's group ever took, page cache included.
    pub fn peak_bytes(&self, id: u64) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        fs::read_to_string(self.node(id).join(file)).ok()?.trim().parse().ok()
    }

    /// How often the kernel killed something in a node's group.
    pub fn kills(&self, id: u64) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.node(id).join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.unwrap_or(0)
    }

    fn node(&self, id: u64) -> PathBuf {
        self.home.join(format!("node-{id}"))
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        // What cannot be removed still holds a process; it is empty and harmless once that has ended.
        for node in &self.nodes {
            let _ = fs::remove_dir(node);
        }
        let _ = fs::remove_dir(&self.home);
    }
}

/// The hierarchy and this process's own group in it, from mountinfo (proc(5)) and `/proc/self/cgroup` (cgroups(7)).
fn find(mounts: &str, own: &str) -> Result<(Version, PathBuf), Error> {
    let own = |wanted: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            wanted(parts.next()?).then(|| parts.next()).flatten()
        })
    };
    let mut second = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(mount)) = (before.next(), before.next()) else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
        let place = |group: Option<&str>| {
            // In a container the mount shows only a part of the hierarchy.
            let group = group.unwrap_or("/");
            let group = group.strip_prefix(root).filter(|_| root != "/").unwrap_or(group);
            let place = Path::new(mount).join(group.trim_start_matches('/'));
            if place.is_dir() { place } else { PathBuf::from(mount) }
        };
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            let group = own(&|names| names.split(',').any(|name| name == "memory"));
            return Ok((Version::One, place(group)));
        }
        if kind == "cgroup2" && second.is_none() {
            second = Some((Version::Two, place(own(&str::is_empty))));
        }
    }
    second.ok_or(Error::None)
}

fn make(path: &Path) -> Result<(), Error> {
    fs::create_dir(path).map_err(|error| Error::Denied { path: path.to_owned(), error })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::Denied { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "30 23 0:26 / /nowhere/memory rw,relatime - cgroup cgroup rw,memory\n\
                       31 23 0:27 / /nowhere/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_memory_hierarchy_of_version_1_comes_before_version_2() {
        let (version, place) = find(ONE, "4:memory:/a/b\n0::/c\n").unwrap();
        assert_eq!((version, place), (Version::One, PathBuf::from("/nowhere/memory")));
        let two = ONE.lines().nth(1).unwrap();
        let (version, place) = find(two, "0::/c\n").unwrap();
        assert_eq!((version, place), (Version::Two, PathBuf::from("/nowhere/unified")));
    }

    #[test]
    fn without_a_memory_controller_the_error_names_the_way_out() {
        let other = "30 23 0:26 / /nowhere/cpu rw - cgroup cgroup rw,cpu\n";
        assert!(find(other, "").unwrap_err().to_string().contains("--no-cgroup"));
    }
}
