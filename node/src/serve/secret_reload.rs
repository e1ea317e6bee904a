//! Reads the secret that the nodes share again when its file changes.

use conclave_cluster::wire::Secrets;
use tokio::sync::watch::Receiver;

use crate::access::watch;

/// Until dropped. A file that cannot be used leaves the secret as it was; connections that are open stay.
pub(super) async fn keep_current(secrets: Secrets, asked: Receiver<u64>) {
    let paths = secrets.path().map(std::path::Path::to_owned).into_iter().collect();
    watch::whenever_changed(paths, asked, || read_again(secrets.clone())).await;
}

async fn read_again(secrets: Secrets) {
    match tokio::task::spawn_blocking(move || secrets.reload()).await {
        Ok(Ok(())) => tracing::info!("read the secret of the peers"),
        Ok(Err(error)) => tracing::error!(%error, "the secret of the peers stays as it was"),
        Err(_) => tracing::error!("reading the secret of the peers failed"),
    }
}
