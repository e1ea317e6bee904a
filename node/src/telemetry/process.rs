//! This process as the kernel sees it, under the names that Prometheus clients agree on.

/// What `/proc/self` says; what cannot be read is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// Bytes of memory in use.
    pub(super) resident_bytes: Option<u64>,
    /// Open descriptors.
    pub(super) open_fds: Option<u64>,
    /// How many descriptors may be open.
    pub(super) max_fds: Option<u64>,
    /// Seconds on a processor, user and system.
    pub(super) cpu_seconds: Option<f64>,
    /// Threads.
    pub(super) threads: Option<u64>,
}

impl Process {
    /// Looks now.
    pub(super) fn look() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
        let status = read("status").unwrap_or_default();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: field(&status, "Threads:"),
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: limit,
            cpu_seconds: read("stat").as_deref().and_then(cpu_seconds),
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th field of proc(5) `stat`. The second, the program's name, may hold blanks and brackets, so that
/// counting starts after its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 7 0 100 1000 200";
        let seconds = cpu_seconds(stat).unwrap();
        assert_eq!(seconds * rustix::param::clock_ticks_per_second() as f64, 300.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen() {
        let process = Process::look();
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.cpu_seconds.is_some() && process.max_fds.is_some());
    }
}
