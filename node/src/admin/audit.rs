//! The audit logs: every call that changes something leaves an entry. `/admin/v1/audit` returns those entries, and the
//! security events.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::audit::View;
use conclave_cluster::state::id::Digest;
use serde_json::value::RawValue;
use tokio::time::timeout;
use uuid::Uuid;

use super::api_types::{Audit, AuditEntry, AuditHead, Whose};
use super::error::Error;
use super::query::Query;
use super::server::services;
use super::state::AdminState;
use crate::service::audit::{self, Event, Log, PAGE_MAX};

/// Hexadecimal digits of a digest of a name.
const DIGEST_DIGITS: usize = 32;
/// Characters of a method and a path.
const CALL_CHARS_MAX: usize = 128;
/// After this time a change is made although its entry is not written.
const PATIENCE: Duration = Duration::from_secs(2);

/// The query of a page.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The number behind which the page begins.
    #[serde(default)]
    after: u64,
    /// At most 1,000 come, whatever is asked for.
    count: Option<usize>,
    /// `changes`, unless it is said, or `security`.
    #[param(pattern = "^(changes|security)$")]
    log: Option<String>,
}

/// Entries of the audit log, oldest first
#[utoipa::path(
    get,
    path = "/admin/v1/audit",
    tag = "access",
    operation_id = "audit",
    params(Asked),
    responses((status = 200, description = "A page", body = Audit), (status = 400, description = "`invalid_query`, `invalid_input`"))
)]
pub(super) async fn tell(state: web::Data<AdminState>, asked: Query<Asked>) -> Result<HttpResponse, Error> {
    let services = services(&state)?;
    let log = asked.log.as_deref().map_or(Some(Log::default()), Log::parse);
    let log = log.ok_or(Error::Input("`log` is `changes` or `security`"))?;
    let (head, entries) = audit::page(services, log, asked.after, asked.count.unwrap_or(PAGE_MAX)).await?;
    let head = head.map(|head| AuditHead { seq: head.seq, hash: format!("{:x}", head.hash) });
    let entries = entries.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(Audit { head, entries }))
}

/// The text is JSON that a node wrote. One that is not is a fault of ours, and not left out: that would look as if somebody had
/// taken it out.
fn shown(view: View) -> Result<AuditEntry, Error> {
    let entry = RawValue::from_string(view.text).map_err(|_| {
        tracing::error!(seq = view.seq, "an entry of the audit log is not JSON");
        Error::Internal
    })?;
    Ok(AuditEntry {
        seq: view.seq,
        at_ms: view.at_ms,
        entry,
        before: format!("{:x}", view.before),
        hash: format!("{:x}", view.hash),
    })
}

/// A digest of whom a call is about: the first half of the SHA-256 of `token:ID`, `subject:NAME` or `device:SUBJECT/DEVICE`. In
/// an organisation its name and a slash follow the colon.
pub(super) fn about(whose: &Whose) -> String {
    let tenant = whose.tenant.as_ref().map(|tenant| format!("{tenant}/")).unwrap_or_default();
    let text = match whose {
        Whose { token: Some(id), .. } => format!("token:{tenant}{id}"),
        Whose { subject: Some(subject), device: Some(device), .. } => {
            format!("device:{tenant}{subject}/{device}")
        }
        Whose { subject, .. } => format!("subject:{tenant}{}", subject.as_deref().unwrap_or_default()),
    };
    digest(&text)
}

/// The first half of the SHA-256 of a name.
pub(super) fn digest(text: &str) -> String {
    let mut digest = format!("{:x}", Digest::of(text.as_bytes()));
    digest.truncate(DIGEST_DIGITS);
    digest
}

/// Writes an entry that a change was asked for, then makes the change. If that fails, a second entry has the error's code.
///
/// If the entry cannot be written, as without a majority, the change is made all the same: it may be what brings the majority
/// back. That is logged and counted.
pub(super) async fn audited<T>(
    request: &HttpRequest,
    state: &AdminState,
    about: &str,
    change: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let request_id = Uuid::now_v7().to_string();
    let noted = note(request, state, &request_id, about, "asked").await;
    let made = change.await;
    if let (true, Err(error)) = (noted, &made) {
        note(request, state, &request_id, about, error.code()).await;
    }
    made
}

/// Adds an entry; false if that failed.
async fn note(
    request: &HttpRequest,
    state: &AdminState,
    request_id: &str,
    about: &str,
    outcome: &str,
) -> bool {
    let Some(services) = state.services() else { return false };
    let call: String =
        format!("{} {}", request.method(), request.path()).chars().take(CALL_CHARS_MAX).collect();
    let from = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
    let node = services.cluster.node_id();
    let event = Event { call: &call, about, from: &from, node, outcome, request_id };
    let appended = timeout(PATIENCE, audit::append(services, &event)).await;
    if matches!(appended, Ok(Ok(_))) {
        return true;
    }
    tracing::error!(call, request_id, outcome, "the audit log has no entry for this call");
    metrics::counter!("conclave_audit_lost_total").increment(1);
    false
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::audit::ORIGIN;

    use super::*;

    #[test]
    fn an_entry_that_cannot_be_shown_is_not_left_out() {
        let view =
            |text: &str| View { seq: 7, at_ms: 1, text: text.to_owned(), before: ORIGIN, hash: ORIGIN };
        let entry = shown(view(r#"{"call":"POST /x"}"#)).unwrap();
        assert_eq!((entry.seq, entry.entry.get()), (7, r#"{"call":"POST /x"}"#));
        assert!(matches!(shown(view(r#"{"call":"#)), Err(Error::Internal)));
    }
}
