//! The health of this node, and the cluster as it sees it. Nothing here changes anything.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::api_types::{Done, Status};
use super::error::Error;
use super::server::cluster;
use super::state::AdminState;
use crate::transport::ws::Listed;

/// Sockets shown at once.
const LISTED_MAX: usize = 1000;

/// Metrics of this node
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "observe",
    operation_id = "metrics",
    responses((status = 200, description = "Prometheus' text format, version 0.0.4", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(state.metrics())
}

/// Whether the process runs
#[utoipa::path(
    get,
    path = "/livez",
    tag = "observe",
    operation_id = "live",
    responses((status = 200, description = "It does", body = Done))
)]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(well())
}

/// Whether this node serves
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "observe",
    operation_id = "ready",
    responses((status = 200, description = "It does", body = Done), (status = 503, description = "`not_ready`, with the `checks` that failed"))
)]
pub(super) async fn ready(state: web::Data<AdminState>) -> Result<HttpResponse, Error> {
    let failing = state.unready().await;
    if failing.is_empty() { Ok(HttpResponse::Ok().json(well())) } else { Err(Error::Unready(failing)) }
}

/// The cluster, as this node sees it
#[utoipa::path(
    get,
    path = "/cluster/status",
    tag = "cluster",
    operation_id = "status",
    responses((status = 200, description = "Its leader, cells and nodes", body = Status))
)]
pub(super) async fn status(state: web::Data<AdminState>) -> Result<HttpResponse, Error> {
    let cluster = cluster(&state)?;
    let (status, next_step) = tokio::join!(cluster.status(), cluster.next_step());
    Ok(HttpResponse::Ok().json(conclave_cluster::Status { next_step, ..status }))
}

/// Who is connected to this node, without saying who it is
#[utoipa::path(
    get,
    path = "/sockets",
    tag = "observe",
    operation_id = "sockets",
    responses((status = 200, description = "How many there are, and at most 1,000 of them", body = Connected))
)]
pub(super) async fn sockets(state: web::Data<AdminState>) -> Result<HttpResponse, Error> {
    let sockets = state.sockets().ok_or(Error::Starting)?;
    Ok(HttpResponse::Ok().json(Connected { count: sockets.count(), sockets: sockets.list(LISTED_MAX) }))
}

/// The sockets of a node.
#[derive(Serialize, ToSchema)]
struct Connected {
    count: usize,
    sockets: Vec<Listed>,
}

fn well() -> Done {
    Done { status: "ok".to_owned() }
}
