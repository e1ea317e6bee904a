//! What the server says about itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_http::ContentEncoding;
use actix_http::encoding::Encoder;
use actix_web::body::BoxBody;
use actix_web::http::header::{HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::Cluster;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::accept::{self, Coding};
use super::error::{Code, Error, Extra};
use super::options::Options;
use super::reply::{fixed, ok};
use super::shared::Shared;

/// `GET /api/v1/edition`.
///
/// The only answer of the API that is compressed: no other is free of secrets and of what a client wrote, and compressing
/// those together tells one by the other's length.
pub(super) async fn edition(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut response = ok(&edition_body(&shared.options));
    if shared.options.compression {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        let coding = match accept::coding(request.headers()) {
            Coding::Plain => return Ok(response),
            Coding::Gzip => ContentEncoding::Gzip,
            Coding::Brotli => ContentEncoding::Brotli,
        };
        response = response.map_body(|head, body| BoxBody::new(Encoder::response(coding, head, body)));
    }
    Ok(response)
}

fn edition_body(options: &Options) -> Value {
    let edition = options.edition;
    let features: Map<String, Value> =
        edition.features().iter().map(|feature| ((*feature).to_owned(), Value::Bool(true))).collect();
    json!({
        "edition": edition.as_str(),
        "isEnterprise": edition.is_enterprise(),
        "version": env!("CARGO_PKG_VERSION"),
        "features": features,
        "timestamp": timestamp(),
    })
}

/// `GET /health`.
pub(super) async fn health(_: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    Ok(ok(&json!({
        "status": "ok",
        "edition": shared.options.edition.as_str(),
        "uptime": shared.started.elapsed().as_millis() as f64 / 1000.0,
        "timestamp": timestamp(),
    })))
}

/// `GET /livez`: that it is answered is the answer.
pub(super) async fn livez(_: HttpRequest, _: web::Data<Shared>) -> Result<HttpResponse, Error> {
    Ok(fixed(r#"{"status":"ok"}"#))
}

/// `GET /readyz`: whether clients should be sent here.
pub(super) async fn readyz(_: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    if shared.is_leaving() {
        return Err(Error::from(Code::ShuttingDown).with(Extra::Failed(vec!["draining"])));
    }
    match shared.readiness.ask(&shared.services.cluster).await {
        Ok(()) => Ok(fixed(r#"{"status":"ready"}"#)),
        Err(checks) => Err(Error::from(Code::NoLeader).with(Extra::Failed(checks))),
    }
}

/// For how long an answer to the question whether the node is ready is given again.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// Whether the node is ready. That is a question to a quorum, and anybody may ask it as often as he likes, so it is passed
/// on no more than four times a second.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Checks)>>);

type Checks = Result<(), Vec<&'static str>>;

impl Readiness {
    async fn ask(&self, cluster: &Cluster) -> Checks {
        // Held while it is asked: whoever comes meanwhile gets the same answer.
        let mut last = self.0.lock().await;
        if let Some((asked, checks)) = last.as_ref()
            && asked.elapsed() < ANSWER_AGE_MAX
        {
            return checks.clone();
        }
        let checks = cluster.caught_up().await;
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

/// Milliseconds since the Unix epoch.
fn timestamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edition::Edition;

    #[test]
    fn an_edition_lists_what_it_has() {
        let body = edition_body(&Options::default());
        assert_eq!(body["edition"], "consumer");
        assert_eq!(body["isEnterprise"], false);
        assert_eq!(
            body["features"],
            json!({ "relay": true, "ephemeralChunks": true, "webrtcSignaling": true })
        );
        let options = Options { edition: Edition::Enterprise, ..Options::default() };
        let body = edition_body(&options);
        assert_eq!(body["isEnterprise"], true);
        assert_eq!(body["features"].as_object().unwrap().len(), 4);
    }
}
