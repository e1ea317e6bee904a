//! Uploads by a schedule: many connections, each with one request in flight, that take their starts from one pacer.

mod connection;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::schedule::Pacer;
pub(crate) use connection::{LoadConnection, Outcome, Uploads, connections};

/// A start that finds no free connection for so long is not made up for: it could not be offered.
const LATE_MAX: Duration = Duration::from_millis(50);
/// Connections that are opened at once.
const OPENING: usize = 64;

/// Takes down what connections see.
pub(crate) trait Record: Send + Sync + 'static {
    /// A request goes out.
    fn begin(&self, _planned: Instant, _begun: Instant) {}

    /// A start that could not be offered.
    fn missed(&self) {}

    /// A request has ended, just now.
    fn note(&self, planned: Instant, begun: Instant, outcome: Outcome);
}

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// For one request.
    pub(crate) timeout: Duration,
    /// After a refusal.
    pub(crate) pause: Duration,
}

/// Sets connections to work; each comes back once the pacer is over and its last request is answered.
pub(crate) fn start(
    connections: Vec<LoadConnection>,
    pacer: &Arc<Pacer>,
    record: &Arc<impl Record>,
    options: Options,
) -> JoinSet<LoadConnection> {
    let mut started = JoinSet::new();
    for connection in connections {
        started.spawn(work(connection, pacer.clone(), record.clone(), options));
    }
    started
}

/// Waits for connections; those that are not back in time are given up.
pub(crate) async fn join(mut started: JoinSet<LoadConnection>, patience: Duration) -> Vec<LoadConnection> {
    let mut connections = Vec::new();
    let all = async {
        while let Some(back) = started.join_next().await {
            connections.extend(back);
        }
    };
    let _ = tokio::time::timeout(patience, all).await;
    connections
}

async fn work(
    mut connection: LoadConnection,
    pacer: Arc<Pacer>,
    record: Arc<impl Record>,
    options: Options,
) -> LoadConnection {
    loop {
        let planned = pacer.start_within(LATE_MAX, || record.missed()).await;
        if pacer.over() {
            return connection;
        }
        let begun = Instant::now();
        record.begin(planned, begun);
        let outcome = connection.fire_within(options.timeout).await;
        record.note(planned, begun, outcome);
        match outcome {
            // Trying again at once would only burn the servers' processor.
            Outcome::Failed("connect") => tokio::time::sleep(LATE_MAX).await,
            Outcome::Refused(_) if !options.pause.is_zero() => tokio::time::sleep(options.pause).await,
            Outcome::Done | Outcome::Refused(_) | Outcome::Failed(_) => {}
        }
    }
}

/// Connects all connections, some at a time: nobody's backlog is to be measured.
pub(crate) async fn open(connections: Vec<LoadConnection>) -> Vec<LoadConnection> {
    use futures_util::StreamExt as _;
    let open = |mut connection: LoadConnection| async move {
        // One that does not connect says so with its first request.
        connection.open().await;
        connection
    };
    futures_util::stream::iter(connections).map(open).buffered(OPENING).collect().await
}
