//! `/admin/v1/log-level`: what this node logs.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, rt, web};

use super::api_types::{LogLevel, SetLogLevel};
use super::audit;
use super::body::Body;
use super::error::Error;
use super::server::{cluster, parse};
use super::state::AdminState;
use crate::telemetry::log::Level;

/// What this node logs
#[utoipa::path(
    get,
    path = "/admin/v1/log-level",
    tag = "observe",
    operation_id = "logLevel",
    responses((status = 200, description = "What is in force, and what it comes back to", body = LogLevel))
)]
pub(super) async fn tell() -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(shown(level()?)))
}

/// Have this node log something else, until it starts again or for some time
#[utoipa::path(
    post,
    path = "/admin/v1/log-level",
    tag = "observe",
    operation_id = "setLogLevel",
    request_body(content = SetLogLevel),
    responses(
        (status = 200, description = "What is in force, and what it comes back to", body = LogLevel),
        (status = 400, description = "`invalid_input`"),
    )
)]
pub(super) async fn set(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let SetLogLevel { level: wanted, for_seconds } =
        parse(&body, r#"{"level": "debug"} is asked for, and perhaps "forSeconds""#)?;
    if for_seconds == Some(0) {
        return Err(Error::Input("`forSeconds` is at least 1"));
    }
    let level = level()?;
    let about = format!("node {}", cluster(&state)?.node_id());
    let change =
        audit::audited(&request, &state, &about, async { level.set(&wanted).map_err(Error::LogLevel) })
            .await?;
    tracing::info!(level = wanted, for_seconds, "changed what is logged");
    if let Some(seconds) = for_seconds {
        rt::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            level.restore(change);
        });
    }
    Ok(HttpResponse::Ok().json(shown(level)))
}

fn level() -> Result<&'static Level, Error> {
    Level::of_process().ok_or(Error::Starting)
}

fn shown(level: &Level) -> LogLevel {
    LogLevel { level: level.now(), configured: level.configured().to_owned() }
}
