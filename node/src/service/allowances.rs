//! What clients spent is given back to them.

use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::outcome::Outcome;

use super::{Error, Services, settle};

/// Ends a client's open windows; how many that were.
///
/// # Errors
/// See [`Error`]. Whether it was done is not known then.
pub async fn reset(services: &Services, client: Key) -> Result<u32, Error> {
    let outcome = settle(services.cluster.propose(Draft::of(Op::Reset { client })).await?.outcome)?;
    let Outcome::Reset { windows } = outcome else { return Err(Error::Unexpected) };
    Ok(windows)
}
