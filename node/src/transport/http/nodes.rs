//! Where the other nodes are: for clients that want somewhere else to go.

use actix_web::HttpResponse;

use super::answers::{Node, Nodes};
use crate::service::nodes::Origins;
use crate::transport::request::authenticate;
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::ok;

/// Where the nodes of this cluster are
#[utoipa::path(
    get,
    path = "/api/v1/nodes",
    tag = "server",
    operation_id = "nodes",
    responses((status = 200, description = "Those that clients can reach", body = Nodes))
)]
pub(crate) async fn list(ctx: Context) -> Result<HttpResponse, Error> {
    let origins = origins(&ctx).await;
    let nodes = origins.iter().map(|(id, url)| Node { id: *id, url: url.to_string() });
    Ok(ok(&Nodes { nodes: nodes.collect() }))
}

/// The addresses of the nodes that lead as far as the one under which the request was sent.
pub(super) async fn origins(ctx: &Context) -> Origins {
    let host = authenticate::authority(&ctx.request).unwrap_or_default();
    // Of whom a proxy is at the door, not the proxy: it is always near.
    let client = authenticate::address(&ctx.shared, &ctx.request);
    let services = ctx.services();
    services.nodes.for_client(&services.cluster, host, client, ctx.shared.options.tls).await
}
