//! `/admin/v1/log-level`: what this node logs.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use actix_web::{HttpRequest, HttpResponse, rt, web};

use super::api_types::{LogLevel, SetLogLevel};
use super::audit;
use super::body::Body;
use super::error::Error;
use super::server::{cluster, parse};
use super::state::AdminState;
use crate::telemetry::log::Level;

/// For how long a level may be in force: a day.
const SECONDS: RangeInclusive<u32> = 1..=24 * 60 * 60;

/// The level is of the process, and so is the task that ends it.
static END: End = End(Mutex::new(None));

/// The task that brings the configured level back, and the change that it is of. There is one at most.
// A std mutex: nothing is awaited while it is held.
struct End(Mutex<Option<(u64, JoinHandle<()>)>>);

impl End {
    /// A change is in force, until `task` ends it if it has an end. The tasks of those before it are void.
    fn follows(&self, change: u64, task: Option<JoinHandle<()>>) {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let void = match &*end {
            // A newer one came in between.
            Some((newer, _)) if *newer > change => task,
            Some(_) | None => {
                std::mem::replace(&mut *end, task.map(|task| (change, task))).map(|(_, task)| task)
            }
        };
        void.inspect(JoinHandle::abort);
    }
}

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
    if for_seconds.is_some_and(|seconds| !SECONDS.contains(&seconds)) {
        return Err(Error::Input("`forSeconds` is 1 to 86,400, a day"));
    }
    let level = level()?;
    let about = format!("node {}", cluster(&state)?.node_id());
    let change =
        audit::audited(&request, &state, &about, async { level.set(&wanted).map_err(Error::LogLevel) })
            .await?;
    tracing::info!(level = wanted, for_seconds, "changed what is logged");
    let end = for_seconds.map(|seconds| {
        rt::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            level.restore(change);
        })
    });
    END.follows(change, end);
    Ok(HttpResponse::Ok().json(shown(level)))
}

fn level() -> Result<&'static Level, Error> {
    Level::of_process().ok_or(Error::Starting)
}

fn shown(level: &Level) -> LogLevel {
    LogLevel { level: level.now(), configured: level.configured().to_owned() }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    #[actix_web::test]
    async fn of_many_changes_one_task_is_left_and_it_is_the_newest() {
        let end = End(Mutex::new(None));
        let alive = Arc::new(());
        let task = || {
            let alive = alive.clone();
            Some(rt::spawn(async move {
                pending::<()>().await;
                drop(alive);
            }))
        };
        let left = async || {
            // Those that were aborted are dropped meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
            Arc::strong_count(&alive) - 1
        };
        for change in 1..=50 {
            end.follows(change, task());
        }
        assert_eq!(left().await, 1);
        // The one that was made first is heard of last.
        end.follows(49, task());
        assert_eq!(left().await, 1);
        assert_eq!(end.0.lock().unwrap().as_ref().map(|(change, _)| *change), Some(50));
        end.follows(51, None);
        assert_eq!(left().await, 0, "it has no end");
    }
}
