//! The audit logs: who changed what, and what was tried, kept by the cluster.

use std::time::Duration;

use conclave_cluster::Draft;
use conclave_cluster::state::audit::{self, Action, Head, View};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::limits::NAME_BYTES_MAX;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query::{self, Page};
use serde::Serialize;

use super::{Error, Services, settle, storage_keys};
use crate::actors::StateKey;

/// For how long an entry is kept, if no more than ten thousand come after it.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Entries of one page.
pub const PAGE_MAX: usize = 1000;

/// Each is a chain of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Log {
    /// Who changed what, call by call.
    #[default]
    Changes,
    /// What was tried, summed up: see [`security_events`](super::security_events).
    Security,
}

impl Log {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Changes, Self::Security];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Security => "security",
        }
    }

    /// The log of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|log| log.name() == name)
    }

    fn place(self) -> StateKey {
        match self {
            Self::Changes => storage_keys::audit(),
            Self::Security => storage_keys::security_events(),
        }
    }
}

/// What an entry about a change says. Names of clients are in it as digests.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// Method and path of the call.
    pub call: &'a str,
    /// The node that it was about, or a digest of whom.
    pub about: &'a str,
    /// Where it came from.
    pub from: &'a str,
    /// The node that was asked.
    pub node: u64,
    /// `asked`, or the code of the error that came of it.
    pub outcome: &'a str,
    /// The call's id.
    pub request_id: &'a str,
}

/// Adds an entry about a change.
///
/// # Errors
/// See [`Error`]. Whether it is there is not known then.
pub async fn append(services: &Services, event: &Event<'_>) -> Result<Head, Error> {
    add(services, Log::Changes, event, KEPT).await
}

/// Adds an entry that is kept for so long.
///
/// # Errors
/// See [`Error`]. Whether it is there is not known then.
pub(super) async fn add(
    services: &Services,
    log: Log,
    event: &impl Serialize,
    kept: Duration,
) -> Result<Head, Error> {
    let text = serde_json::to_string(event).map_err(|_| Error::Unexpected)?;
    debug_assert!(text.len() <= NAME_BYTES_MAX, "each part is short");
    let keep_s = u32::try_from(kept.as_secs()).unwrap_or(u32::MAX);
    let op = Op::Audit(audit::Op { key: log.place().key, action: Action::Append { text, keep_s } });
    let outcome = settle(services.cluster.propose(Draft::of(op)).await?.outcome)?;
    let Outcome::Audit(outcome) = outcome else { return Err(Error::Unexpected) };
    let audit::Outcome::Appended(head) = outcome;
    Ok(head)
}

/// The entries behind number `after`, oldest first, at most [`PAGE_MAX`] of them; and the head, if there ever was an entry.
///
/// # Errors
/// See [`Error`].
pub async fn page(
    services: &Services,
    log: Log,
    after: u64,
    count: usize,
) -> Result<(Option<Head>, Vec<View>), Error> {
    let key = log.place().key;
    let page = Page { after, count_max: count.min(PAGE_MAX), bytes_max: usize::MAX };
    Ok(services.cluster.read_linearizable((query::AuditHead(key), query::AuditEntries(key, page))).await?)
}

/// How many entries a log has, as this node's replica knows it.
///
/// # Errors
/// See [`Error`].
pub(super) async fn held(services: &Services, log: Log) -> Result<u64, Error> {
    let key = log.place().key;
    let first = Page { after: 0, count_max: 1, bytes_max: usize::MAX };
    let look = (query::AuditHead(key), query::AuditEntries(key, first));
    let (head, first) = services.cluster.read_stale(look).await?;
    // Its entries are without a gap: all are kept for the same time.
    Ok(head.zip(first.first()).map_or(0, |(head, first)| head.seq - first.seq + 1))
}
