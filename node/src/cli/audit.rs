//! `conclave audit`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use conclave_cluster::state::audit::{ORIGIN, hash};

use super::admin::Admin;
use super::output;
use crate::access::{credential_rights, tenant};
use crate::admin::api_types::{Audit, AuditEntry, AuditHead};
use crate::admin::client::{Client, Error};
use crate::exit::Exit;
use crate::service::audit::Log;
use crate::service::security_events;
use crate::terminal::complain;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave audit                             who changed what: adding and removing nodes, revocations
  conclave audit --json --after 42 >> log    the entries behind number 42, a line each
  conclave audit --verify log                that the lines are whole, in order, and all there are
  conclave audit --verify log --allow-newer  the same, though the cluster may have newer ones
  conclave audit --log security              who signed in, and what was refused, summed up
  conclave audit --log security --subject alice

A call about somebody has a digest: the first 32 digits of `printf subject:alice | sha256sum`
(or token:ID, device:SUBJECT/DEVICE). A file that lacks the cluster's last entries was fetched before they were
written, or its end was taken away: --verify cannot tell which, so that it fails, and --allow-newer takes it for
the former. Append before you verify with it: what was taken away is fetched again. The cluster keeps the last 10,000 entries, security events for a day.")]
pub(super) struct Arguments {
    /// changes: who changed what; or security: who signed in, and what was refused
    #[arg(long, value_name = "LOG", value_parser = log, default_value = "changes")]
    log: Log,
    /// Of the security events, entries that name this subject among their first
    #[arg(long, value_name = "NAME", conflicts_with = "verify")]
    subject: Option<String>,
    /// The organisation of the subject
    #[arg(long, value_name = "NAME", requires = "subject")]
    tenant: Option<String>,
    /// Behind the entry with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// Each entry as a line of JSON
    #[arg(long)]
    json: bool,
    /// Check the lines of a file that --json wrote: each against the one before it, the last against the cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["after", "json"])]
    verify: Option<PathBuf>,
    /// The cluster may have entries that the file lacks, if its last one is the cluster's entry of that number
    #[arg(long, requires = "verify")]
    allow_newer: bool,
    #[command(flatten)]
    admin: Admin,
}

fn log(name: &str) -> Result<Log, String> {
    Log::parse(name).ok_or_else(|| format!("it is one of {}", Log::ALL.map(Log::name).join(", ")))
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Some(path) = &arguments.verify else {
        return arguments.admin.ask(|client| show(client, arguments));
    };
    let last = match check(path) {
        Ok(last) => last,
        Err(why) => return complain(format_args!("{}: {why}", path.display()), Exit::Failed),
    };
    let mut wrong = None;
    let exit = arguments.admin.ask(async |client| {
        // The head and the entry are read at once.
        let page = client.audit(arguments.log, last.seq.saturating_sub(1)).await?;
        match Compared::of(&last, &page) {
            Compared::Last => return Ok(format!("{} entries, whole and in order\n", last.seq)),
            Compared::Before(newer) if arguments.allow_newer => {
                return Ok(format!(
                    "{} entries, whole and in order; the cluster has {newer} newer\n",
                    last.seq
                ));
            }
            other => wrong = Some(other),
        }
        Ok(String::new())
    });
    match wrong {
        Some(compared) => complain(compared.complaint(path, last.seq), Exit::Failed),
        None => exit,
    }
}

/// How the last entry of a file compares with the cluster's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// It is the last one there, too.
    Last,
    /// It is there, and so many follow it.
    Before(u64),
    /// There may be such an entry, and so many follow it; but neither it nor the one behind it is kept.
    Gone(u64),
    /// The log's entry of that number is another one.
    Another,
    /// The log ends with the entry of this number, which is before it.
    Beyond(u64),
}

impl Compared {
    /// `page` begins with the entry of the same number, or with the first one behind it that is kept.
    fn of(last: &AuditHead, page: &Audit) -> Self {
        let none = || AuditHead { seq: 0, hash: format!("{ORIGIN:x}") };
        let head = page.head.clone().unwrap_or_else(none);
        let newer = match head.seq.checked_sub(last.seq) {
            None => return Self::Beyond(head.seq),
            Some(0) if head.hash == last.hash => return Self::Last,
            Some(0) => return Self::Another,
            Some(newer) => newer,
        };
        // The entry behind it has its hash, too.
        let known = page.entries.first().and_then(|entry| match entry.seq.checked_sub(last.seq) {
            Some(0) => Some(&entry.hash),
            Some(1) => Some(&entry.before),
            Some(_) | None => None,
        });
        match known {
            Some(hash) if *hash == last.hash => Self::Before(newer),
            Some(_) => Self::Another,
            None => Self::Gone(newer),
        }
    }

    fn complaint(self, path: &Path, seq: u64) -> String {
        let path = path.display();
        match self {
            Self::Last => format!("{path}: it ends with entry {seq}, as the cluster's log does"),
            Self::Before(newer) => format!(
                "{path}: it ends with entry {seq}, and the cluster has {newer} newer: the file is older, or its end was \
                 taken away; `conclave audit --json --after {seq} >> {path}` appends them"
            ),
            Self::Gone(newer) => format!(
                "{path}: it ends with entry {seq}, which the cluster no longer keeps to compare; it has {newer} newer, and \
                 the next of them is gone, too"
            ),
            Self::Another => {
                format!(
                    "{path}: the cluster's entry {seq} is another one: the file is of another log, or was rewritten"
                )
            }
            Self::Beyond(head) => format!(
                "{path}: it ends with entry {seq}, and the cluster's log with entry {head}: the file is of another log, or \
                 the cluster lost some"
            ),
        }
    }
}

async fn show(client: Client, arguments: &Arguments) -> Result<String, Error> {
    let (mut text, mut after) = (String::new(), arguments.after);
    let within = |name| tenant::qualified(arguments.tenant.as_deref(), name);
    let subject = arguments.subject.as_deref().map(|name| credential_rights::subject(&within(name)));
    let subject = subject.map(|subject| security_events::digest(&subject));
    loop {
        let page = client.audit(arguments.log, after).await?;
        let Some(last) = page.entries.last() else { return Ok(text) };
        after = last.seq;
        let wanted = |entry: &&AuditEntry| {
            subject.as_ref().is_none_or(|subject| entry.entry.get().contains(subject.as_str()))
        };
        for entry in page.entries.iter().filter(wanted) {
            let _ = if arguments.json {
                writeln!(text, "{}", output::json(entry))
            } else {
                writeln!(text, "{:>6}  {}  {}", entry.seq, entry.at_ms, entry.entry.get())
            };
        }
    }
}

/// Why lines are not an audit log.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error("line {0} is not an entry")]
    NoEntry(usize),
    #[error("line {0}: entry {1} follows entry {2}")]
    Gap(usize, u64, u64),
    #[error("line {0}: entry {1} was changed, or the one before it")]
    Changed(usize, u64),
}

/// Checks all lines of a file, which must begin with the first entry, and returns the last one.
fn check(path: &Path) -> Result<AuditHead, Wrong> {
    verify(BufReader::new(File::open(path)?).lines())
}

fn verify(lines: impl Iterator<Item = io::Result<String>>) -> Result<AuditHead, Wrong> {
    let (mut last, mut before) = (0, ORIGIN);
    for (number, line) in (1..).zip(lines) {
        let entry: AuditEntry = serde_json::from_str(&line?).map_err(|_| Wrong::NoEntry(number))?;
        if entry.seq != last + 1 {
            return Err(Wrong::Gap(number, entry.seq, last));
        }
        let computed = hash(&before, entry.seq, entry.at_ms, entry.entry.get());
        if entry.before != format!("{before:x}") || entry.hash != format!("{computed:x}") {
            return Err(Wrong::Changed(number, entry.seq));
        }
        (last, before) = (entry.seq, computed);
    }
    Ok(AuditHead { seq: last, hash: format!("{before:x}") })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// So many lines, as `--json` writes them.
    fn lines(count: u64) -> Vec<String> {
        let mut before = ORIGIN;
        let line = |seq| {
            let (text, at_ms) = (format!(r#"{{"call":"POST /x","seq":{seq}}}"#), 1000 + seq);
            let own = hash(&before, seq, at_ms, &text);
            let entry = RawValue::from_string(text).unwrap();
            let entry =
                AuditEntry { seq, at_ms, entry, before: format!("{before:x}"), hash: format!("{own:x}") };
            before = own;
            serde_json::to_string(&entry).unwrap()
        };
        (1..=count).map(line).collect()
    }

    /// A page of a log of so many entries, of which those up to `gone` are kept no more.
    fn page(count: u64, after: u64, gone: u64) -> Audit {
        let whole = lines(count);
        let entry = |line: &String| serde_json::from_str::<AuditEntry>(line).unwrap();
        let head = whole.last().map(entry).map(|last| AuditHead { seq: last.seq, hash: last.hash });
        let kept = whole.iter().map(entry).filter(|entry| entry.seq > after.max(gone));
        Audit { head, entries: kept.collect() }
    }

    /// Where the last of so many lines stands in a log.
    fn compared(of: u64, count: u64, gone: u64) -> Compared {
        let last = verify(lines(of).into_iter().map(Ok)).unwrap();
        Compared::of(&last, &page(count, of.saturating_sub(1), gone))
    }

    fn verified(lines: &[String]) -> Result<u64, String> {
        let head = verify(lines.iter().cloned().map(Ok)).map_err(|wrong| wrong.to_string())?;
        Ok(head.seq)
    }

    #[test]
    fn ten_thousand_entries_are_whole_and_what_was_changed_or_taken_out_shows() {
        let whole = lines(10_000);
        assert_eq!(verified(&whole), Ok(10_000));
        let mut changed = whole.clone();
        changed[4_999] = changed[4_999].replace("POST /x", "POST /y");
        assert_eq!(
            verified(&changed),
            Err("line 5000: entry 5000 was changed, or the one before it".to_owned())
        );
        let mut later = whole.clone();
        later[76] = later[76].replace("1077", "1078");
        assert!(verified(&later).is_err());
        let mut short = whole.clone();
        short.remove(17);
        assert_eq!(verified(&short), Err("line 18: entry 19 follows entry 17".to_owned()));
        short.truncate(17);
        assert_eq!(verified(&short), Ok(17), "that the last are missing is seen by the cluster's head");
        assert_eq!(verified(&whole[1..]), Err("line 1: entry 2 follows entry 0".to_owned()));
        assert_eq!(verified(&["{}".to_owned()]), Err("line 1 is not an entry".to_owned()));
    }

    #[test]
    fn a_file_that_lacks_the_newest_is_told_from_one_that_is_another() {
        assert_eq!((compared(5, 5, 0), compared(0, 0, 0)), (Compared::Last, Compared::Last));
        assert_eq!(
            compared(9_999, 10_000, 0),
            Compared::Before(1),
            "an older file, or one whose end was taken away"
        );
        assert_eq!((compared(3, 5, 0), compared(0, 5, 0)), (Compared::Before(2), Compared::Before(5)));
        assert_eq!(compared(5, 3, 0), Compared::Beyond(3));
        let other = |seq| AuditHead { seq, hash: "0".repeat(64) };
        assert_eq!(Compared::of(&other(5), &page(5, 4, 0)), Compared::Another);
        assert_eq!(Compared::of(&other(3), &page(5, 2, 0)), Compared::Another);
    }

    #[test]
    fn an_entry_that_is_not_kept_any_more_is_known_by_the_next_one_alone() {
        assert_eq!(compared(3, 5, 3), Compared::Before(2));
        let other = AuditHead { seq: 3, hash: "0".repeat(64) };
        assert_eq!(Compared::of(&other, &page(5, 2, 3)), Compared::Another);
        assert_eq!(
            (compared(3, 5, 4), compared(3, 5, 5), compared(0, 5, 5)),
            (Compared::Gone(2), Compared::Gone(2), Compared::Gone(5))
        );
        assert_eq!(compared(5, 5, 5), Compared::Last, "the head outlives all entries");
    }

    #[test]
    fn the_complaint_says_what_it_may_be_and_what_to_do() {
        let said = Compared::Before(3).complaint(Path::new("log"), 7);
        for part in ["ends with entry 7", "has 3 newer", "older, or its end", "--json --after 7 >> log"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
