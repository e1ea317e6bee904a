//! The machine as Linux shows it in `/proc/stat` (proc(5)).

use std::fs;

use super::process::TICKS_PER_SECOND;

/// Seconds of processor time, over all cores, that a virtual machine wanted and its host gave to others; `None` where
/// that is not known.
pub fn stolen_seconds() -> Option<f64> {
    stolen(&fs::read_to_string("/proc/stat").ok()?)
}

/// The eighth number of the first line, which sums up all cores.
fn stolen(stat: &str) -> Option<f64> {
    let ticks: u64 = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_took_is_found_over_all_cores() {
        let stat = "cpu  40 1 20 900 5 0 3 250 0 0\ncpu0 20 1 10 450 5 0 3 125 0 0\n";
        assert_eq!(stolen(stat), Some(2.5));
        assert_eq!(stolen("cpu  40 1 20 900 5 0 3\n"), None, "older kernels");
        assert!(stolen_seconds().is_some());
    }
}
