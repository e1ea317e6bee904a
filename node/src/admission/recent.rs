//! A value for each client that was heard of lately, in bounded memory.

use std::collections::HashMap;

use super::client_identity::Client;

/// Clients that are remembered. Beyond it the half that was not heard of for longest is forgotten.
pub(super) const CLIENTS_MAX: usize = 65_536;

/// Looked for in both halves, written to the younger.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: HashMap<Client, V>,
    old: HashMap<Client, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Copy> Recent<V> {
    pub(super) fn get(&self, client: Client) -> Option<V> {
        self.young.get(&client).or_else(|| self.old.get(&client)).copied()
    }

    pub(super) fn set(&mut self, client: Client, value: V) {
        if self.young.len() >= CLIENTS_MAX / 2 && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_addresses_is_forgotten_half_by_half() {
        let mut recent = Recent::default();
        for client in 0..2 * CLIENTS_MAX as u32 {
            recent.set(Client::V4(client), client);
        }
        assert!(recent.young.len() + recent.old.len() <= CLIENTS_MAX);
        let last = 2 * CLIENTS_MAX as u32 - 1;
        assert_eq!(recent.get(Client::V4(last)), Some(last));
        assert_eq!(recent.get(Client::V4(0)), None);
    }
}
