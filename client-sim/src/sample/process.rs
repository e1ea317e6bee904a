//! Processes as Linux shows them under `/proc` (proc(5)).

use std::fs;

/// Clock ticks a second in `/proc/PID/stat`. The kernel scales to this value on every architecture this runs on,
/// whatever its own tick is.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// User and system time so far.
    pub cpu_s: f64,
    /// Resident now.
    pub rss_bytes: u64,
    /// The most there ever was.
    pub rss_peak_bytes: u64,
    /// Write system calls so far; `None` where not ours to see.
    pub write_calls: Option<u64>,
    /// Bytes given to the block layer so far; `None` where not ours to see.
    pub written_bytes: Option<u64>,
}

/// Looks at a process; `None` if there is none that lives.
pub fn process(pid: u32) -> Option<Process> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let status = read("status")?;
    let io = read("io");
    let io_field = |name| io.as_deref().and_then(|text| field(text, name));
    Some(Process {
        cpu_s: cpu_seconds(&read("stat")?)?,
        rss_bytes: field(&status, "VmRSS:")? * 1024,
        rss_peak_bytes: field(&status, "VmHWM:")? * 1024,
        write_calls: io_field("syscw:"),
        written_bytes: io_field("write_bytes:"),
    })
}

/// How many files a process has open; `None` where that is not ours to see.
pub fn open_files(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// CPU time of this very process.
pub fn own_cpu_seconds() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)).unwrap_or(0.0)
}

/// Whether a process has ended, reaped or not.
pub fn is_dead(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => matches!(after_name(&stat).and_then(|rest| rest.split(' ').next()), Some("Z" | "X")),
        Err(_) => true,
    }
}

/// The fields after the name, which may itself hold spaces and parentheses.
fn after_name(stat: &str) -> Option<&str> {
    Some(stat.rsplit_once(')')?.1.trim_start())
}

/// Fields 14 and 15 of `stat`: user and system time.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = after_name(stat)?.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
}

/// The number that follows `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 1027 0 2 0 250 125 7 9 20 0 8 0 3031 71 99 1";

    #[test]
    fn cpu_time_is_found_behind_a_nasty_name() {
        assert_eq!(cpu_seconds(STAT), Some(3.75));
        assert_eq!(cpu_seconds("4242 (a"), None);
    }

    #[test]
    fn fields_are_whole_words_at_the_start_of_a_line() {
        let status = "Name:\tVmRSS: 9\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(field(status, "VmRSS:"), Some(1024));
        assert_eq!(field(status, "VmHWM:"), Some(2048));
        assert_eq!(field(status, "VmSwap:"), None);
        assert_eq!(
            field("rchar: 1\nsyscw: 77\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n", "syscw:"),
            Some(77)
        );
    }

    #[test]
    fn this_process_is_seen_alive() {
        let own = process(std::process::id()).unwrap();
        assert!(own.rss_bytes > 0 && own.rss_peak_bytes >= own.rss_bytes);
        assert!(!is_dead(std::process::id()));
    }

    #[test]
    fn a_file_that_is_open_counts() {
        let before = open_files(std::process::id()).unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let during = open_files(std::process::id()).unwrap();
        drop(files);
        // Other tests open and close some meanwhile.
        assert!(during >= before + 25, "{before} {during}");
        assert_eq!(open_files(0), None);
    }

    #[test]
    fn a_process_that_ended_is_dead_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while !is_dead(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_dead(child.id()));
        assert_eq!(process(child.id()), None);
    }
}
