//! Checks keys as they are closed, while the run goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{Violation, key};
use crate::proof::history::{BadFile, Closed, Operation, Wish, read};
use crate::proof::{Family, Terms};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Promises that were not kept, the first ones.
    pub violations: Vec<Violation>,
    /// How many there were beyond those.
    pub beyond: u64,
    /// Keys that were checked, by family.
    pub keys: BTreeMap<Family, u64>,
}

/// A thread that checks.
#[derive(Debug)]
pub struct Checker {
    sender: SyncSender<Closed>,
    thread: JoinHandle<Findings>,
}

/// Violations that are kept. One defect makes thousands of them.
const VIOLATIONS_MAX: usize = 16;
/// Keys that may wait to be checked; beyond them the load waits.
const WAITING_MAX: usize = 4096;

impl Checker {
    /// Begins.
    pub fn start(terms: Terms) -> Self {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        Self { sender, thread: std::thread::spawn(move || check_all(&receiver, &terms)) }
    }

    /// Where keys go.
    pub fn sender(&self) -> SyncSender<Closed> {
        self.sender.clone()
    }

    /// Waits until everything was checked; all other senders must be gone.
    pub fn finish(self) -> Findings {
        drop(self.sender);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn check_all(receiver: &Receiver<Closed>, terms: &Terms) -> Findings {
    let mut findings = Findings::default();
    while let Ok(operations) = receiver.recv() {
        findings.add(&operations, terms);
    }
    findings
}

/// Checks a history on disk; says of how many operations it consists, and what was found.
pub fn check_file(path: &Path) -> Result<(u64, Findings), BadFile> {
    let (header, operations) = read(path)?;
    let count = operations.len() as u64;
    let mut keys: BTreeMap<(Family, Arc<str>), Closed> = BTreeMap::new();
    for operation in operations {
        keys.entry((operation.family, operation.key.clone())).or_default().push(operation);
    }
    let mut findings = Findings::default();
    keys.values().for_each(|operations| findings.add(operations, &header.terms));
    Ok((count, findings))
}

impl Findings {
    /// Checks one key.
    pub fn add(&mut self, operations: &Closed, terms: &Terms) {
        let Some(first) = operations.first() else { return };
        // What was never looked at proves nothing about its time.
        let looks = |it: &Operation| it.wish.reads() || it.wish == Wish::Poll;
        if first.family != Family::Ttl || operations.iter().any(looks) {
            *self.keys.entry(first.family).or_default() += 1;
        }
        for violation in key(operations, terms) {
            if self.violations.len() < VIOLATIONS_MAX {
                self.violations.push(violation);
            } else {
                self.beyond += 1;
            }
        }
    }
}
