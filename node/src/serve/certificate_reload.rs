//! Reads the certificate for links between nodes again when one of its files changes.

use std::path::Path;
use std::time::SystemTime;

use conclave_cluster::wire::Tls;
use tokio::sync::watch::Receiver;

use crate::access::watch;

/// Until dropped. Files that cannot be used for `node` of `cluster` leave everything as it was; links that are up stay.
pub(super) async fn keep_current(tls: Tls, cluster: String, node: u64, asked: Receiver<u64>) {
    let paths = tls.paths().map(Path::to_owned).to_vec();
    watch::whenever_changed(paths, asked, || read_again(tls.clone(), cluster.clone(), node)).await;
}

async fn read_again(tls: Tls, cluster: String, node: u64) {
    match tokio::task::spawn_blocking(move || tls.reload(&cluster, node, SystemTime::now())).await {
        Ok(Ok(())) => tracing::info!("read the certificate of the links"),
        Ok(Err(error)) => tracing::error!(%error, "the certificate of the links stays as it was"),
        Err(_) => tracing::error!("reading the certificate of the links failed"),
    }
}
