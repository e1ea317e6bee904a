//! What the public port answers while the node is not part of its cluster yet.
//!
//! A listening socket that nobody serves accepts connections and lets them hang, which health checks and load balancers
//! take for the worst kind of failure. So every request is answered at once: `/livez` with 200, all others with 503.

use actix_web::body::MessageBody as _;
use actix_web::http::{ConnectionType, Method};
use actix_web::{HttpRequest, HttpResponse};

use super::middleware::DefaultHeaders;
use crate::transport::request::accept;
use crate::transport::request::edge_options::Options;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::reply::fixed;
use crate::transport::request::request_id::{self, REQUEST_ID};

/// The answers of a node that waits.
pub(super) struct NotReady {
    default_headers: DefaultHeaders,
    why: &'static str,
}

impl NotReady {
    /// `why` is the check that `/readyz` names as failing.
    pub(super) fn new(options: &Options, why: &'static str) -> Self {
        Self { default_headers: DefaultHeaders::new(options), why }
    }

    pub(super) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let id = request_id::of(request.headers());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let mut response = match request.path() {
            "/livez" if reads => fixed(r#"{"status":"ok"}"#),
            _ => {
                let problem = accept::prefers_problem(request.headers());
                let error = Error::from(Code::NoLeader).with(Extra::Failed(vec![self.why]));
                error.render(id.to_str().unwrap_or_default(), problem, false)
            }
        };
        self.default_headers.apply(response.headers_mut());
        response.headers_mut().insert(REQUEST_ID, id);
        // Nothing of the body was read.
        response.head_mut().set_connection_type(ConnectionType::Close);
        response.map_body(|_, body| body.boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::http::StatusCode;
    use actix_web::http::header::RETRY_AFTER;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use serde_json::Value;

    use super::*;
    use crate::transport::pipeline::{Edge, app};

    #[actix_web::test]
    async fn a_node_that_waits_lives_and_refuses_everything_else() {
        let edge = Edge::new(&Options::default(), "starting");
        let app = init_service(app(Arc::new(edge))).await;
        let live = call_service(&app, TestRequest::get().uri("/livez").to_request()).await;
        assert_eq!(live.status(), StatusCode::OK);
        assert!(
            live.headers().contains_key("x-request-id") && live.headers().contains_key("x-frame-options")
        );
        for request in [
            TestRequest::get().uri("/readyz"),
            TestRequest::get().uri("/health"),
            TestRequest::post().uri("/api/relay"),
            TestRequest::get().uri("/"),
        ] {
            let refused = call_service(&app, request.to_request()).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "1");
            let body: Value = read_body_json(refused).await;
            assert_eq!(body["failed"], serde_json::json!(["starting"]), "{body}");
        }
    }
}
