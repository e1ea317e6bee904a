//! A cgroup for each node, of version 1 or 2: a node that takes too much memory dies of it and nothing else does, and each
//! node has its own part of the processors, as if it had a machine of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Groups that this process has made: several may be there at once.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Why there are no cgroups to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No hierarchy with the controller is mounted.
    #[error("no cgroup hierarchy with the {controller} controller is mounted; {without} does without")]
    None {
        /// `memory` or `cpu`.
        controller: &'static str,
        /// The option that asks for none.
        without: &'static str,
    },
    /// It may not be written, or the controller is not delegated.
    #[error(
        "{path}: {error}; run as root, or under `systemd-run --user --scope -p Delegate=yes`, or use {without}"
    )]
    Denied {
        /// The option that asks for none.
        without: &'static str,
        /// What was written or made.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What each node is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many bytes of memory, swap included; beyond, it dies.
    Memory(u64),
    /// So many processors; beyond, it waits.
    Cores(f64),
}

/// The time, in microseconds, within which a node may use its part of the processors. Short beside an election timeout.
const PERIOD_US: u32 = 10_000;
/// The least part that the kernel takes, in microseconds.
const QUOTA_US_MIN: u32 = 1_000;

impl Limit {
    fn controller(self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Cores(_) => "cpu",
        }
    }

    fn without(self) -> &'static str {
        match self {
            Self::Memory(_) => "--no-cgroup",
            Self::Cores(_) => "growth without --cores",
        }
    }

    /// The files that say it, what they say, and whether each must be there.
    fn files(self, version: Version) -> Vec<(&'static str, String, bool)> {
        match (self, version) {
            // Swap only where it is accounted for.
            (Self::Memory(bytes), Version::One) => vec![
                ("memory.limit_in_bytes", bytes.to_string(), true),
                ("memory.memsw.limit_in_bytes", bytes.to_string(), false),
            ],
            (Self::Memory(bytes), Version::Two) => {
                vec![("memory.max", bytes.to_string(), true), ("memory.swap.max", "0".to_owned(), false)]
            }
            (Self::Cores(cores), Version::One) => vec![
                ("cpu.cfs_period_us", PERIOD_US.to_string(), true),
                ("cpu.cfs_quota_us", quota_us(cores).to_string(), true),
            ],
            (Self::Cores(cores), Version::Two) => {
                vec![("cpu.max", format!("{} {PERIOD_US}", quota_us(cores)), true)]
            }
        }
    }
}

fn quota_us(cores: f64) -> u32 {
    ((f64::from(PERIOD_US) * cores) as u32).max(QUOTA_US_MIN)
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
    /// Makes a group for so many nodes, each of which is held to this.
    ///
    /// # Errors
    /// If there is no such controller, or it cannot be used.
    pub fn make(nodes: u64, limit: Limit) -> Result<Self, Error> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let write = |path: &Path, text: &str| {
            fs::write(path, text).map_err(|error| denied(path, error, limit.without()))
        };
        let make = |path: &Path| fs::create_dir(path).map_err(|error| denied(path, error, limit.without()));
        let (version, parent) = find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), limit)?;
        let control = format!("+{}", limit.controller());
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let home = parent.join(format!("conclave-sim-{}-{number}", std::process::id()));
        if version == Version::Two {
            write(&parent.join("cgroup.subtree_control"), &control)?;
        }
        make(&home)?;
        let mut this = Self { version, home, nodes: Vec::new() };
        if version == Version::Two {
            write(&this.home.join("cgroup.subtree_control"), &control)?;
        }
        for id in 1..=nodes {
            let node = this.node(id);
            make(&node)?;
            this.nodes.push(node.clone());
            for (file, text, needed) in limit.files(version) {
                let written = write(&node.join(file), &text);
                if needed {
                    written?;
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

    /// Puts a node that runs already into its group.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn take_in(&self, id: u64, pid: u32) -> io::Result<()> {
        fs::write(self.node(id).join("cgroup.procs"), pid.to_string())
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
fn find(mounts: &str, own: &str, limit: Limit) -> Result<(Version, PathBuf), Error> {
    let controller = limit.controller();
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
        if kind == "cgroup" && options.split(',').any(|option| option == controller) {
            let group = own(&|names| names.split(',').any(|name| name == controller));
            return Ok((Version::One, place(group)));
        }
        if kind == "cgroup2" && second.is_none() {
            second = Some((Version::Two, place(own(&str::is_empty))));
        }
    }
    second.ok_or(Error::None { controller, without: limit.without() })
}

fn denied(path: &Path, error: io::Error, without: &'static str) -> Error {
    Error::Denied { without, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "30 23 0:26 / /nowhere/memory rw,relatime - cgroup cgroup rw,memory\n\
                       31 23 0:27 / /nowhere/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_hierarchy_of_version_1_comes_before_version_2() {
        let (version, place) = find(ONE, "4:memory:/a/b\n0::/c\n", Limit::Memory(1)).unwrap();
        assert_eq!((version, place), (Version::One, PathBuf::from("/nowhere/memory")));
        let two = ONE.lines().nth(1).unwrap();
        for limit in [Limit::Memory(1), Limit::Cores(1.0)] {
            let (version, place) = find(two, "0::/c\n", limit).unwrap();
            assert_eq!((version, place), (Version::Two, PathBuf::from("/nowhere/unified")));
        }
    }

    #[test]
    fn without_its_controller_the_error_names_the_way_out() {
        let other = "30 23 0:26 / /nowhere/cpu rw - cgroup cgroup rw,cpu\n";
        assert!(find(other, "", Limit::Memory(1)).unwrap_err().to_string().contains("--no-cgroup"));
        assert!(find(other, "", Limit::Cores(0.1)).is_ok());
        assert!(find("", "", Limit::Cores(0.1)).unwrap_err().to_string().contains("without --cores"));
    }

    #[test]
    fn a_part_of_a_processor_is_a_quota_of_each_period() {
        assert_eq!((quota_us(0.5), quota_us(2.0), quota_us(0.01)), (5_000, 20_000, 1_000));
        assert_eq!(Limit::Cores(0.25).files(Version::Two), [("cpu.max", "2500 10000".to_owned(), true)]);
    }
}
