//! Whether something grows over hours: a line through samples, and how sure it is.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::report::Latency;
use crate::sample::{open_files, process};

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    /// Processes on this machine.
    pub pids: Vec<u32>,
    /// Directories whose use of the disk counts.
    pub dirs: Vec<PathBuf>,
}

/// One look.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Seconds after the run's origin.
    pub at_s: f64,
    /// Of operations done since the look before.
    pub latency: Latency,
    /// By process; `None` if it is gone.
    pub processes: Vec<Option<Held>>,
    /// Bytes on disk by directory; `None` if it can't be read.
    pub dirs: Vec<Option<u64>>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Held {
    /// Resident bytes.
    pub rss_bytes: u64,
    /// Open files; `None` where not ours to see.
    pub files: Option<u64>,
}

/// A line through points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fit {
    /// How much it rises over one unit of x.
    pub slope: f64,
    /// Of the slope, as if the points' distances from the line had nothing to do with one another.
    pub standard_error: f64,
    /// Where it is at x = 0.
    pub start: f64,
}

/// How one thing grew.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// What.
    pub what: String,
    /// `bytes` or `files`.
    pub unit: &'static str,
    /// The first and the last that were fitted.
    pub first_last: Option<(f64, f64)>,
    /// By hours; `None` of fewer than three samples.
    pub per_hour: Option<Fit>,
    /// What it may grow by in an hour.
    pub bound: Option<f64>,
    /// Samples in the fit.
    pub samples: usize,
    /// Looks in vain.
    pub missing: usize,
    /// Whether it keeps to the bound, as far as can be told: the slope less twice its error is not above it.
    pub ok: bool,
}

/// Bounds of growth in an hour, where there are any.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Bounds {
    /// Resident bytes of each process.
    pub rss: Option<f64>,
    /// Open files of each process.
    pub files: Option<f64>,
    /// Bytes on disk of each directory.
    pub disk: Option<f64>,
}

impl Subjects {
    /// Looks now.
    pub fn look(&self, at_s: f64, latency: Latency) -> Sample {
        let held = |pid: &u32| Some(Held { rss_bytes: process(*pid)?.rss_bytes, files: open_files(*pid) });
        Sample {
            at_s,
            latency,
            processes: self.pids.iter().map(held).collect(),
            dirs: self.dirs.iter().map(|dir| disk_use(dir)).collect(),
        }
    }

    /// Fits what was sampled from `from_s` up to `to_s`.
    pub fn growths(&self, samples: &[Sample], from_s: f64, to_s: f64, bounds: Bounds) -> Vec<Growth> {
        let within: Vec<_> = samples.iter().filter(|sample| (from_s..=to_s).contains(&sample.at_s)).collect();
        let series = |value: &dyn Fn(&Sample) -> Option<u64>| -> Vec<(f64, Option<f64>)> {
            within
                .iter()
                .map(|sample| (sample.at_s / 3600.0, value(sample).map(|value| value as f64)))
                .collect()
        };
        let mut growths = Vec::new();
        for (at, pid) in self.pids.iter().enumerate() {
            let rss = series(&|sample| Some(sample.processes[at]?.rss_bytes));
            let files = series(&|sample| sample.processes[at]?.files);
            growths.push(Growth::of(format!("resident memory of process {pid}"), "bytes", &rss, bounds.rss));
            growths.push(Growth::of(format!("open files of process {pid}"), "files", &files, bounds.files));
        }
        for (at, dir) in self.dirs.iter().enumerate() {
            let used = series(&|sample| sample.dirs[at]);
            growths.push(Growth::of(format!("disk use of {}", dir.display()), "bytes", &used, bounds.disk));
        }
        growths
    }
}

impl Growth {
    fn of(what: String, unit: &'static str, series: &[(f64, Option<f64>)], bound: Option<f64>) -> Self {
        let seen: Vec<_> = series.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
        let missing = series.len() - seen.len();
        let per_hour = Fit::through(&seen);
        let keeps = |bound: f64| {
            per_hour.is_some_and(|fit| fit.slope - 2.0 * fit.standard_error <= bound) && missing == 0
        };
        Self {
            what,
            unit,
            first_last: seen.first().zip(seen.last()).map(|(first, last)| (first.1, last.1)),
            per_hour,
            bound,
            samples: seen.len(),
            missing,
            ok: bound.is_none_or(keeps),
        }
    }
}

impl Fit {
    /// By least squares; `None` through fewer than three points, or where all have one x.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let square_x = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
        if square_x <= 0.0 {
            return None;
        }
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / square_x;
        let start = mean_y - slope * mean_x;
        let rest = points.iter().map(|(x, y)| (y - start - slope * x).powi(2)).sum::<f64>();
        Some(Self { slope, standard_error: (rest / (n - 2.0) / square_x).sqrt(), start })
    }
}

/// Bytes that a directory's files take on the disk, each file once however many names it has. Files that go away
/// meanwhile don't count; a directory that can't be read at all is `None`.
pub fn disk_use(dir: &Path) -> Option<u64> {
    let mut bytes = 0;
    let mut linked = HashSet::new();
    let mut folders = vec![dir.to_owned()];
    fs::read_dir(dir).ok()?;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            // Not following links: what they lead to is elsewhere.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() < 2 || linked.insert((metadata.dev(), metadata.ino())) {
                // In units of 512 bytes, whatever the file system's own are (stat(2)).
                bytes += metadata.blocks() * 512;
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<_> = (0..50).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        let fit = Fit::through(&points).unwrap();
        assert!(
            (fit.slope - 2.0).abs() < 1e-9 && (fit.start - 3.0).abs() < 1e-9 && fit.standard_error < 1e-6
        );
        assert_eq!(Fit::through(&points[..2]), None);
        assert_eq!(Fit::through(&[(1.0, 1.0); 5]), None);
    }

    #[test]
    fn the_standard_error_is_the_textbooks() {
        // Worked by hand: slope 0.6, residuals -0.8, 0.6, 1.0, -0.6, -0.2; their squares add up to 2.4, those of x to 10.
        let points = [(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)];
        let fit = Fit::through(&points).unwrap();
        assert!((fit.slope - 0.6).abs() < 1e-9 && (fit.start - 2.2).abs() < 1e-9);
        assert!((fit.standard_error - (2.4f64 / 3.0 / 10.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn only_what_surely_grows_fails() {
        let noisy: Vec<_> =
            (0..20).map(|x| (f64::from(x), Some(f64::from(x % 2) * 100.0 + f64::from(x)))).collect();
        assert!(Growth::of(String::new(), "bytes", &noisy, Some(0.0)).ok);
        let sure: Vec<_> = (0..20).map(|x| (f64::from(x), Some(f64::from(x % 2) + f64::from(x)))).collect();
        assert!(!Growth::of(String::new(), "bytes", &sure, Some(0.5)).ok);
        assert!(Growth::of(String::new(), "bytes", &sure, Some(1.0)).ok);
        assert!(Growth::of(String::new(), "bytes", &sure, None).ok);
    }

    #[test]
    fn what_was_not_seen_keeps_no_bound() {
        let gone: Vec<_> = (0..20).map(|x| (f64::from(x), (x < 15).then_some(1.0))).collect();
        let growth = Growth::of(String::new(), "bytes", &gone, Some(10.0));
        assert_eq!((growth.ok, growth.samples, growth.missing), (false, 15, 5));
        assert!(!Growth::of(String::new(), "bytes", &[], Some(10.0)).ok);
    }

    #[test]
    fn a_file_with_two_names_takes_its_place_once() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("one"), vec![1; 100_000]).unwrap();
        let once = disk_use(folder.path()).unwrap();
        assert!(once >= 100_000);
        fs::hard_link(deep.join("one"), folder.path().join("two")).unwrap();
        std::os::unix::fs::symlink(deep.join("one"), folder.path().join("three")).unwrap();
        // A link may take a block of its own.
        assert!(disk_use(folder.path()).unwrap() < once + 100_000);
        assert_eq!(disk_use(&folder.path().join("nowhere")), None);
    }
}
