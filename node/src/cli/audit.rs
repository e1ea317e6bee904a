//! `conclave audit`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use conclave_cluster::state::audit::{ORIGIN, hash};

use super::admin::Admin;
use crate::access::{credential_rights, tenant};
use crate::admin::api_types::{AuditEntry, AuditHead};
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
  conclave audit --log security              who signed in, and what was refused, summed up
  conclave audit --log security --subject alice

A call about somebody has a digest: the first 32 digits of `printf subject:alice | sha256sum`
(or token:ID, device:SUBJECT/DEVICE). The cluster keeps the last 10,000 entries, security events for a day.")]
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
    let mut missing = None;
    let exit = arguments.admin.ask(async |client| {
        let head = client
            .audit(arguments.log, u64::MAX)
            .await?
            .head
            .unwrap_or(AuditHead { seq: 0, hash: format!("{ORIGIN:x}") });
        if head == last {
            return Ok(format!("{} entries, whole and in order\n", last.seq));
        }
        missing =
            Some(format!("it ends with entry {}, and the cluster's log with another {}", last.seq, head.seq));
        Ok(String::new())
    });
    match missing {
        Some(why) => complain(format_args!("{}: {why}", path.display()), Exit::Failed),
        None => exit,
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
                writeln!(text, "{}", serde_json::to_string(entry).unwrap_or_default())
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
}
