//! Jobs: an answer before the outcome (`Prefer: respond-async`), and the outcome later, from any node.
//!
//! A job's outcome is what the cluster remembers under the job's id. The id is a UUIDv7, so that its age tells a job
//! that is still under way from one that is forgotten, or never was, without a table of jobs.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use conclave_cluster::Error as ClusterError;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::command::{IdempotencyKey, Op};
use conclave_cluster::state::query;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::answers::{Begun, Pending};
use super::relay;
use crate::actors::StateKey;
use crate::service::{self, Caller, Services, settle, storage_keys};
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::fields::Id;
use crate::transport::request::reply::answer;
use crate::transport::request::request_id;

/// For how long a job is tried; after that it is as if it had never been.
const JOB_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a job rests after it was refused for lack of a leader or of room.
const JOB_REST: Duration = Duration::from_millis(250);
/// How far another node's clock may be ahead.
const CLOCK_LEAD_MAX: Duration = Duration::from_secs(60);

/// Begins a job about `target` and answers 202.
pub(super) async fn begin(
    ctx: &Context,
    target: &StateKey,
    charge: Option<Charge>,
    op: Op,
) -> Result<HttpResponse, Error> {
    let part = ctx.shared.options.shares.jobs.enter(ctx.sharer())?;
    let id = storage_keys::job_id(request_id::fresh(), target);
    let key = ctx.remember(ctx.namespace().job(id));
    let (services, caller) = (ctx.shared.services.clone(), ctx.caller().clone());
    if charge.is_some() {
        // The change is proposed for a copy of the caller, after the answer.
        ctx.caller().charge();
    }
    services.refuse_without_room(ctx.caller(), charge, Some(key), &op).await?;
    actix_rt::spawn(async move {
        work(&services, &caller, charge, key, op).await;
        drop(part);
    });

    let mut response = pending(id);
    let headers = response.headers_mut();
    let location = format!("/api/v1/jobs/{id}");
    headers.insert(LOCATION, HeaderValue::try_from(location).expect("a UUID in a path is a header value"));
    headers.insert(HeaderName::from_static("preference-applied"), HeaderValue::from_static("respond-async"));
    Ok(response)
}

/// Tries until there is an outcome. Trying again is safe: the idempotency key remembers an outcome that got lost on its way.
async fn work(services: &Services, caller: &Caller, charge: Option<Charge>, key: IdempotencyKey, op: Op) {
    let until = Instant::now() + JOB_TIME_MAX;
    loop {
        match services.change(caller, charge, Some(key), op.clone()).await {
            Err(service::Error::Cluster(ClusterError::ShuttingDown)) => return,
            Err(service::Error::Cluster(_)) if Instant::now() < until => sleep(JOB_REST).await,
            Err(service::Error::Cluster(_)) => {
                tracing::warn!("job abandoned: no outcome in time");
                return;
            }
            // What it came to is remembered, a refusal as well.
            Ok(_) | Err(_) => return,
        }
    }
}

/// What became of a request that preferred `respond-async`
///
/// Once there is an outcome it is what the action itself would have answered; refusals come with their own status.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    tag = "relay",
    operation_id = "job",
    params(("id" = inline(Id), Path, description = "The `jobId` of the answer")),
    responses(
        (status = 200, description = "The outcome", body = relay::RelayAnswer),
        (status = 202, description = "There is none yet", body = Pending,
            headers(("Retry-After" = u64, description = "Seconds"))),
        (status = 400, description = "`invite_code_in_use`"),
        (status = 404, description = "`not_found`"),
        (status = 429, description = "`mailbox_full`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn get(ctx: Context) -> Result<HttpResponse, Error> {
    let id = ctx.parameter("id").parse::<Uuid>().map_err(|_| Code::NotFound)?;
    ctx.pay(ctx.tier())?;
    let key = ctx.namespace().job(id);
    let remembered = ctx.look(query::Remembered(key)).await?;
    match remembered {
        Some(remembered) => relay::answer(settle(remembered.outcome), &ctx),
        None if may_be_under_way(id, ctx.services().now_ms()) => Ok(pending(id)),
        None => Err(Code::NotFound.into()),
    }
}

fn pending(id: Uuid) -> HttpResponse {
    let mut response = answer(StatusCode::ACCEPTED, &Pending { status: Begun::Pending, job_id: id });
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Whether the id is young enough for its job to be tried still.
fn may_be_under_way(id: Uuid, now_ms: u64) -> bool {
    let Some((seconds, nanos)) =
        id.get_timestamp().filter(|_| id.get_version_num() == 7).map(|at| at.to_unix())
    else {
        return false;
    };
    let begun_ms = seconds * 1000 + u64::from(nanos / 1_000_000);
    let patience_ms = (JOB_TIME_MAX + CLOCK_LEAD_MAX).as_millis() as u64;
    begun_ms + patience_ms >= now_ms && begun_ms <= now_ms + CLOCK_LEAD_MAX.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_young_id_may_be_a_job_under_way() {
        let begun_ms = 1_800_000_000_000;
        let id = uuid::Builder::from_unix_timestamp_millis(begun_ms, &[7; 10]).into_uuid();
        assert!(may_be_under_way(id, begun_ms));
        assert!(may_be_under_way(id, begun_ms + 90_000));
        assert!(!may_be_under_way(id, begun_ms + 90_001));
        assert!(!may_be_under_way(id, begun_ms - 60_001));
        assert!(!may_be_under_way(Uuid::new_v4(), begun_ms));
    }
}
