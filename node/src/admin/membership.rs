//! The calls that change who belongs to the cluster, and who leads it.

use std::time::Duration;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::{Change, MembershipError};
use serde_json::json;

use super::api_types::{self, Add, Cell, Node, Status, Transfer};
use super::audit::audited;
use super::body::Body;
use super::error::Error;
use super::server::{cluster, parse};
use super::state::AdminState;

pub(super) async fn add(
    request: HttpRequest,
    state: web::Data<AdminState>,
    query: web::Query<api_types::Change>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Add { id, peer } = parse(&body, "{\"id\": 4, \"peer\": \"host:port\"} is asked for")?;
    about_node(&request, &state, id, cluster(&state)?.add(id, peer, change(&query))).await?;
    tracing::info!(id, "added a front");
    Ok(done())
}

pub(super) async fn promote(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: web::Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.promote(id, change(&query))).await?;
    tracing::info!(id, "gave a front a seat");
    Ok(done())
}

pub(super) async fn drain(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: web::Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.drain(id, change(&query))).await?;
    tracing::info!(id, "gave the seat of a node to a front, and removed it");
    Ok(done())
}

pub(super) async fn remove(
    request: HttpRequest,
    state: web::Data<AdminState>,
    id: web::Path<String>,
    query: web::Query<api_types::Change>,
) -> Result<HttpResponse, Error> {
    let id = node_id(&id)?;
    about_node(&request, &state, id, cluster(&state)?.remove(id, change(&query))).await?;
    tracing::info!(id, "removed a node");
    Ok(done())
}

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
    Ok(HttpResponse::Ok().json(json!({"status": "ok", "leader": to})))
}

/// Has a change made that is about a node, which the audit log names.
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
    HttpResponse::Ok().insert_header(ContentType::json()).json(json!({"status": "ok"}))
}

fn node_id(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

fn seen(status: conclave_cluster::Status) -> Status {
    let conclave_cluster::Status { leader, term, majority, cells, next_step, nodes } = status;
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
        fault: node.fault,
    });
    Status {
        leader,
        term,
        majority: Some(majority_of(majority)),
        cells: cells.collect(),
        next_step,
        nodes: nodes.collect(),
    }
}
