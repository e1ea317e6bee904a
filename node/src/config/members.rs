//! The first members of a cluster, as `cluster.members` lists them: `1=host:port`.

use std::collections::BTreeMap;

use super::value_checks::peer;

/// Where each member is reached by its peers, by node id; or what is wrong with the list.
pub fn members(list: &[String]) -> Result<BTreeMap<u64, String>, String> {
    let mut members = BTreeMap::new();
    for text in list {
        let wrong = || format!("`{text}` is not a member such as \"1=10.0.0.1:7400\"");
        let (id, address) = member(text).ok_or_else(wrong)?;
        if members.insert(id, address.to_owned()).is_some() {
            return Err(format!("node {id} is named twice"));
        }
    }
    Ok(members)
}

fn member(text: &str) -> Option<(u64, &str)> {
    let (id, address) = text.split_once('=')?;
    let (id, address) = (id.trim().parse().ok()?, address.trim());
    (id > 0 && !address.is_empty() && peer(address).is_none()).then_some((id, address))
}
