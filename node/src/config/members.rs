//! The first members of a cluster, as `cluster.members` lists them: `1=host:port`.

use std::collections::BTreeMap;

use super::value_checks::peer;

/// Where each member is reached by its peers, by node id; or what is wrong with the list.
pub fn members(list: &[String]) -> Result<BTreeMap<u64, String>, String> {
    let mut members = BTreeMap::new();
    let mut at = BTreeMap::new();
    for text in list {
        let wrong = || format!("`{text}` is not a member such as \"1=10.0.0.1:7400\"");
        let (id, address) = member(text).ok_or_else(wrong)?;
        if let Some(other) = at.insert(address.to_ascii_lowercase(), id).filter(|other| *other != id) {
            return Err(format!(
                "nodes {other} and {id} are both at {address}: each listens at an address of its own"
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &[&str]) -> Result<usize, String> {
        let list: Vec<_> = list.iter().map(|&text| text.to_owned()).collect();
        members(&list).map(|members| members.len())
    }

    #[test]
    fn each_member_has_an_id_and_an_address_of_its_own() {
        assert_eq!(told(&["1=a.example:7400", "2 = b.example:7400", "3=a.example:7401"]), Ok(3));
        assert_eq!(told(&["1=a.example:7400", "1=b.example:7400"]), Err("node 1 is named twice".to_owned()));
        assert_eq!(told(&["1=a.example:7400", "1=a.example:7400"]), Err("node 1 is named twice".to_owned()));
        let why = "nodes 1 and 3 are both at A.example:7400: each listens at an address of its own";
        assert_eq!(told(&["1=a.example:7400", "2=b:1", "3=A.example:7400"]), Err(why.to_owned()));
    }
}
