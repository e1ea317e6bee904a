//! Where the other nodes are: for clients that want somewhere else to go.

use actix_web::HttpResponse;
use serde_json::json;

use crate::service::nodes::Origins;
use crate::transport::request::authenticate;
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::ok;

/// `GET /api/v1/nodes`.
pub(crate) async fn list(ctx: Context) -> Result<HttpResponse, Error> {
    let origins = origins(&ctx).await;
    let nodes: Vec<_> = origins.iter().map(|(id, url)| json!({ "id": id, "url": url })).collect();
    Ok(ok(&json!({ "nodes": nodes })))
}

/// The addresses of the nodes that lead as far as the one under which the request was sent.
pub(super) async fn origins(ctx: &Context) -> Origins {
    let host = authenticate::authority(&ctx.request).unwrap_or_default();
    // Of whom a proxy is at the door, not the proxy: it is always near.
    let client = authenticate::address(&ctx.shared, &ctx.request);
    let services = ctx.services();
    services.nodes.for_client(&services.cluster, host, client, ctx.shared.options.tls).await
}
