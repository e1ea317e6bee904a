//! What organisations hold.

use conclave_cluster::state::account::{Holding, Owned};
use conclave_cluster::state::query;

use super::{Error, Services};
use crate::access::Tenant;

/// What is on an organisation's account, cell by cell. Empty for those who belong to none.
///
/// # Errors
/// See [`Error`]; [`no_leader`](conclave_cluster::Error::NoLeader) if one of the cells cannot be asked.
pub async fn holdings(services: &Services, tenant: &Tenant) -> Result<Vec<Holding>, Error> {
    let Some(key) = tenant.key() else { return Ok(Vec::new()) };
    Ok(services.cluster.read_each_cell(query::Holding(Owned(*key))).await?)
}
