//! What the public port answers while the node is not part of its cluster yet.
//!
//! A listening socket that nobody serves accepts connections and lets them hang, which health checks and load balancers
//! take for the worst kind of failure. So every request is answered at once: `/livez` with 200, all others with 503.

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ACCEPT;
use actix_web::http::{ConnectionType, Method};
use actix_web::{App, HttpRequest, HttpResponse, web};

use super::middleware::DefaultHeaders;
use crate::transport::request::edge_options::Options;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::reply::fixed;
use crate::transport::request::request_id::{self, REQUEST_ID};

/// The edge of a node that waits. `why` is the check that `/readyz` names as failing.
pub fn waiting(
    options: &Options,
    why: &'static str,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    let default_headers = web::Data::new(DefaultHeaders::new(options));
    App::new().default_service(web::to(move |request: HttpRequest| {
        let default_headers = default_headers.clone();
        async move { answer(&request, &default_headers, why) }
    }))
}

fn answer(request: &HttpRequest, default_headers: &DefaultHeaders, why: &'static str) -> HttpResponse {
    let id = request_id::of(request.headers());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match request.path() {
        "/livez" if reads => fixed(r#"{"status":"ok"}"#),
        _ => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let problem = accept.is_some_and(|accept| accept.contains("application/problem+json"));
            Error::from(Code::NoLeader).with(Extra::Failed(vec![why])).render(
                id.to_str().unwrap_or_default(),
                problem,
                false,
            )
        }
    };
    default_headers.apply(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id);
    // The server that answers once the node serves is another one.
    response.head_mut().set_connection_type(ConnectionType::Close);
    response.map_body(|_, body| body.boxed())
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::http::header::RETRY_AFTER;
    use actix_web::test::{TestRequest, init_service, read_body_json};
    use serde_json::Value;

    use super::*;

    #[actix_web::test]
    async fn a_node_that_waits_lives_and_refuses_everything_else() {
        let app = init_service(waiting(&Options::default(), "starting")).await;
        let live = actix_web::test::call_service(&app, TestRequest::get().uri("/livez").to_request()).await;
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
            let refused = actix_web::test::call_service(&app, request.to_request()).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "1");
            let body: Value = read_body_json(refused).await;
            assert_eq!(body["failed"], serde_json::json!(["starting"]), "{body}");
        }
    }
}
