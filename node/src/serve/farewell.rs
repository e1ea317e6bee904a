//! How a node goes: told to by a signal, or removed from its cluster.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use conclave_cluster::Cluster;
use tokio::time::{Instant, sleep};

use super::Error;
use crate::transport::AppState;
use crate::transport::ws::Sockets;

/// Of the grace time, what is kept for handing leadership over and flushing.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often it is looked whether a socket came to a node that was removed, which was let in just before.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says that this node goes away, and serves everything meanwhile, so that load balancers and clients leave before
/// anything is refused.
pub(super) async fn serve_as_lame_duck(duration: Duration, shared: &AppState, cluster: &Cluster) {
    shared.announce_leaving();
    if !duration.is_zero() {
        // Whoever takes over does so while this node still answers.
        let _ =
            tokio::join!(tokio::time::timeout(duration, cluster.hand_over()), tokio::time::sleep(duration));
    }
}

/// Refuses new work, finishes what runs, closes the port and then the log.
///
/// The port is served until then: a listening socket whose connections nobody takes would let them hang.
pub(super) async fn leave(
    grace: Duration,
    shared: &AppState,
    sockets: &Sockets,
    public: &ServerHandle,
    cluster: &Cluster,
) -> Result<(), Error> {
    let end = Instant::now() + grace;
    let farewell = FAREWELL.min(grace / 4);
    shared.drain();
    // Idle connections are no reason to wait, and the server cannot tell them from busy ones: requests are counted.
    let (requests, ()) = tokio::join!(
        tokio::time::timeout_at(end - farewell, shared.drained()),
        send_elsewhere(shared, sockets, end - farewell)
    );
    if requests.is_err() {
        tracing::warn!(requests = shared.in_flight(), "shutdown timed out: requests are aborted");
    }
    public.stop(true).await;
    let least = Instant::now() + FAREWELL;
    // Whoever went until now is told of, too.
    let (closed, (), ()) = tokio::join!(
        tokio::time::timeout_at(end.max(least), cluster.shutdown()),
        shared.services.webhooks.flush(FAREWELL),
        shared.options.traces.flush(FAREWELL)
    );
    match closed {
        Ok(()) => {
            tracing::info!("shutdown complete");
            Ok(())
        }
        Err(_) => Err(Error::Unflushed),
    }
}

/// Waits until this node was removed from its cluster, then sends everybody elsewhere, as [`leave`] does; but the port goes on
/// being served, with 503, until the process is told to end. Runs until dropped.
pub(super) async fn once_removed(grace: Duration, shared: &AppState, sockets: &Sockets, cluster: &Cluster) {
    cluster.removed().await;
    shared.drain();
    loop {
        send_elsewhere(shared, sockets, Instant::now() + grace).await;
        sleep(LOOK_EVERY).await;
        while sockets.count() == 0 {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Sends the sockets of this node to other nodes; everything about them is over by `end`.
async fn send_elsewhere(shared: &AppState, sockets: &Sockets, end: Instant) {
    let services = &shared.services;
    let urls = services.nodes.elsewhere(&services.cluster, shared.options.tls).await;
    sockets.drain(&urls, end).await;
}
