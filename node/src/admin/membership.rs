//! The calls that change who belongs to the cluster, and who leads it.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::{Change, MembershipError};

use super::api_types::{self, Add, Cell, Done, Leads, Node, Status, Transfer};
use super::audit::audited;
use super::body::Body;
use super::error::Error;
use super::query::Query;
use super::server::{cluster, parse};
use super::state::AdminState;

/// Add a node as a front
///
/// It was started with `--join`. Answered when it knows the cluster; to repeat it is safe.
#[utoipa::path(
    post,
    path = "/cluster/members",
    tag = "cluster",
    operation_id = "addMember",
    params(api_types::Change),
    request_body(content = Add),
    responses(
        (status = 200, description = "It is done", body = Done),
        (status = 400, description = "`invalid_query`"),
        (status = 404, description = "`unknown_node`, `not_found`"),
        (status = 409, description = "`busy`: another change is under way; `refused`: the message says why"),
        (status = 504, description = "`not_yet`: the time is over before the change came to its end; the same call waits on"),
    )
)]
pub(super) async fn add(
    request: HttpRequest,
    state: web::Data<AdminState>,
    query: Query<api_types::Change>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Add { id, peer } = parse(&body, "{\"id\": 4, \"peer\": \"host:port\"} is asked for")?;
    about_node(&request, &state, id, cluster(&state)?.add(id, peer, change(&query))).await?;
    tracing::info!(id, "added a front");
    Ok(done())
}

/// Give a front a seat in a cell
///
/// Answered when it has everything and votes.
#[utoipa::path(
    post,
    path = "/cluster/members/{id}/promote",
    tag = "cluster",
    operation_id = "promoteMember",
    params(("id" = u64, Path, description = "The node"), api_types::Change),
    responses(
        (status = 200, description = "It is done", body = Done),
        (status = 400, description = "`invalid_query`"),
        (status = 404, description = "`unknown_node`, `not_found`"),
        (status = 409, description = "`busy`: another change is under way; `refused`: the message says why"),
        (status = 504, description = "`not_yet`: the time is over before the change came to its end; the same call waits on"),
    )
)]
pub(super) async fn promote(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.promote(id, change(&query))).await?;
    tracing::info!(id, "gave a front a seat");
    Ok(done())
}

/// Give a node's seat to a front, then remove the node
#[utoipa::path(
    post,
    path = "/cluster/members/{id}/drain",
    tag = "cluster",
    operation_id = "drainMember",
    params(("id" = u64, Path, description = "The node"), api_types::Change),
    responses(
        (status = 200, description = "It is done", body = Done),
        (status = 400, description = "`invalid_query`"),
        (status = 404, description = "`unknown_node`, `not_found`"),
        (status = 409, description = "`busy`: another change is under way; `refused`: the message says why"),
        (status = 504, description = "`not_yet`: the time is over before the change came to its end; the same call waits on"),
    )
)]
pub(super) async fn drain(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.drain(id, change(&query))).await?;
    tracing::info!(id, "gave the seat of a node to a front, and removed it");
    Ok(done())
}

/// Remove a node for ever
///
/// Its id is never taken again by another disk.
#[utoipa::path(
    delete,
    path = "/cluster/members/{id}",
    tag = "cluster",
    operation_id = "removeMember",
    params(("id" = u64, Path, description = "The node"), api_types::Change),
    responses(
        (status = 200, description = "It is done", body = Done),
        (status = 400, description = "`invalid_query`"),
        (status = 404, description = "`unknown_node`, `not_found`"),
        (status = 409, description = "`busy`: another change is under way; `refused`: the message says why"),
        (status = 504, description = "`not_yet`: the time is over before the change came to its end; the same call waits on"),
    )
)]
pub(super) async fn remove(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.remove(id, change(&query))).await?;
    tracing::info!(id, "removed a node");
    Ok(done())
}

/// Hand leadership over
#[utoipa::path(
    post,
    path = "/cluster/leader",
    tag = "cluster",
    operation_id = "transferLeader",
    request_body(content = Option<Transfer>, description = "Without it, the follower that is furthest leads"),
    responses(
        (status = 200, description = "It leads", body = Leads),
        (status = 404, description = "`unknown_node`"),
        (status = 409, description = "`busy`: another change is under way; `refused`: the message says why; `no_successor`"),
        (status = 504, description = "`not_yet`: the time is over before it leads"),
    )
)]
pub(super) async fn lead(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Transfer { to } = if body.is_empty() {
        Transfer::default()
    } else {
        parse(&body, "{\"to\": 2} or nothing is asked for")?
    };
    let cluster = cluster(&state)?;
    let to = match to {
        Some(to) => to,
        None => seen(cluster.status().await).successor().ok_or(Error::NoSuccessor)?,
    };
    about_node(&request, &state, to, cluster.transfer_leader(to)).await?;
    tracing::info!(to, "handed leadership over");
    Ok(HttpResponse::Ok().json(Leads { status: "ok".to_owned(), leader: to }))
}

/// Makes a change about a node, which the audit log names.
async fn about_node(
    request: &HttpRequest,
    state: &AdminState,
    id: u64,
    change: impl Future<Output = Result<(), MembershipError>>,
) -> Result<(), Error> {
    audited(request, state, &format!("node {id}"), async { Ok(change.await?) }).await
}

fn change(query: &api_types::Change) -> Change {
    let within = query.within_ms.map_or(Change::default().within, Duration::from_millis);
    Change { force: query.force, within }
}

fn done() -> HttpResponse {
    HttpResponse::Ok().json(Done { status: "ok".to_owned() })
}

fn node_id(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

fn seen(status: conclave_cluster::Status) -> Status {
    let conclave_cluster::Status { removed, leader, term, majority, cells, next_step, nodes } = status;
    let majority_of = |conclave_cluster::Majority { voters, reachable, needed }| api_types::Majority {
        voters,
        reachable,
        needed,
    };
    let cells = cells.into_iter().map(|cell| Cell {
        cell: cell.cell,
        leader: cell.leader,
        term: cell.term,
        majority: majority_of(cell.majority),
        slots: cell.slots,
        moving: cell.moving,
    });
    let nodes = nodes.into_iter().map(|node| Node {
        id: node.id,
        http: node.http,
        admin: node.admin,
        pid: node.pid,
        role: node.role.name().to_owned(),
        cell: node.cell,
        applied: node.applied,
        last_log: node.last_log,
        peer: node.peer,
        voter: node.voter,
        committed: node.committed,
        snapshot: node.snapshot,
        log_bytes: node.log_bytes,
        version: node.version,
        fault: node.fault,
    });
    Status {
        removed,
        leader,
        term,
        majority: Some(majority_of(majority)),
        cells: cells.collect(),
        next_step,
        nodes: nodes.collect(),
    }
}
