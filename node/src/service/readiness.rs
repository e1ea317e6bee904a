//! Whether the node is ready, asked of a quorum and told to whoever looks after it.

use std::time::Duration;

use conclave_cluster::Cluster;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::access::Auth;

/// For how long an answer to the question whether the node is ready is given again.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// Whether the node is ready. That is a question to a quorum, and anybody may ask it as often as he likes, so it is passed
/// on no more than four times a second.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Option<(Instant, Checks)>>);

/// Nothing, or the checks that failed.
pub type Checks = Result<(), Vec<&'static str>>;

impl Readiness {
    /// Asks, unless somebody did just now.
    ///
    /// # Errors
    /// The checks that failed.
    pub async fn ask(&self, cluster: &Cluster, auth: &Auth) -> Checks {
        // Held while it is asked: whoever comes meanwhile gets the same answer.
        let mut last = self.0.lock().await;
        if let Some((asked, checks)) = last.as_ref()
            && asked.elapsed() < ANSWER_AGE_MAX
        {
            return checks.clone();
        }
        let checks = check(cluster, auth).await;
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

/// What this node has to know of credentials before it serves, and does not.
pub fn unknown(auth: &Auth) -> impl Iterator<Item = &'static str> {
    let checks = [(auth.is_ready(), "revocations"), (auth.knows_approved(), "devices")];
    checks.into_iter().filter_map(|(is_known, check)| (!is_known).then_some(check))
}

/// Asks a quorum, and whether this node knows what is revoked, and who is let in.
///
/// # Errors
/// The checks that failed.
pub async fn check(cluster: &Cluster, auth: &Auth) -> Checks {
    let mut failing = cluster.caught_up().await.err().unwrap_or_default();
    failing.extend(unknown(auth));
    if failing.is_empty() { Ok(()) } else { Err(failing) }
}
