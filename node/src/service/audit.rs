//! The audit log: who changed what, kept by the cluster.

use std::time::Duration;

use conclave_cluster::Draft;
use conclave_cluster::state::audit::{self, Action, Head, View};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::limits::NAME_BYTES_MAX;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query::{self, Page};
use serde::Serialize;

use super::{Error, Services, settle, storage_keys};

/// For how long an entry is kept, if no more than ten thousand come after it.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Entries of one page.
pub const PAGE_MAX: usize = 1000;

/// What an entry says. Names of clients are in it as digests.
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

/// Adds an entry.
///
/// # Errors
/// See [`Error`]. Whether it is there is not known then.
pub async fn append(services: &Services, event: &Event<'_>) -> Result<Head, Error> {
    let text = serde_json::to_string(event).map_err(|_| Error::Unexpected)?;
    debug_assert!(text.len() <= NAME_BYTES_MAX, "each part is short");
    let keep_s = u32::try_from(KEPT.as_secs()).unwrap_or(u32::MAX);
    let op = Op::Audit(audit::Op { key: storage_keys::audit().key, action: Action::Append { text, keep_s } });
    match settle(services.cluster.propose(Draft::of(op)).await?.outcome)? {
        Outcome::Audit(audit::Outcome::Appended(head)) => Ok(head),
        _ => Err(Error::Unexpected),
    }
}

/// The entries behind number `after`, oldest first, at most [`PAGE_MAX`] of them; and the head, if there ever was an entry.
///
/// # Errors
/// See [`Error`].
pub async fn page(services: &Services, after: u64, count: usize) -> Result<(Option<Head>, Vec<View>), Error> {
    let key = storage_keys::audit().key;
    let page = Page { after, count_max: count.min(PAGE_MAX), bytes_max: usize::MAX };
    Ok(services.cluster.read_linearizable((query::AuditHead(key), query::AuditEntries(key, page))).await?)
}
