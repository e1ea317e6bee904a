//! Sessions opened faster than the allowance admits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Workload;
use super::caller::Caller;
use super::exchange;
use crate::proof::Family;

const FAMILY: Family = Family::Allowance;
const CLIENTS: u32 = 4;
/// Windows whose requests are judged together.
const WINDOWS: u32 = 3;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);
/// The numbers of its clients begin here.
const FIRST_CLIENT: u32 = 50_000;

/// Spends until the run is over.
pub(super) async fn keep(workload: Arc<Workload>) {
    let window = Duration::from_millis(workload.options.allowance.window_ms);
    let mut callers: Vec<Caller> =
        (0..CLIENTS).map(|number| Caller::new(workload.clone(), FIRST_CLIENT + number)).collect();
    while !workload.is_over() {
        let key: Arc<str> = format!("allowance-{}", workload.number()).into();
        let ends = Instant::now() + WINDOWS * window;
        let spend = callers.iter_mut().map(async |caller| {
            while Instant::now() < ends && !workload.is_over() {
                exchange::spend(caller, FAMILY, &key).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        futures_util::future::join_all(spend).await;
        workload.recorder.close(&key);
        // What comes next is judged by itself, so that its first request has to open a window of its own.
        tokio::time::sleep(window).await;
    }
}
