//! Where the other nodes are: for clients that want somewhere else to go.

use actix_web::HttpResponse;
use actix_web::http::header::HOST;
use serde_json::json;

use crate::service::nodes::Origins;
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
    let host = ctx.request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let peer = ctx.request.peer_addr().map(|peer| peer.ip());
    let services = ctx.services();
    services.nodes.for_client(&services.cluster, host, peer, ctx.shared.options.tls).await
}
