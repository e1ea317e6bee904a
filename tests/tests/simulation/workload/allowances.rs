//! Allowances: requests that are charged.

use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::invite_code;
use conclave_cluster::state::outcome::{Answer, Refusal, Scope};
use conclave_cluster::{Cluster, Draft, Error};

use super::FOREVER_MS;
use crate::simulation::history::Sight;

/// Limit and window of each charged client. Of the last one two tokens are leased at a time, of the others one.
pub(crate) const ALLOWANCES: [(u32, u32); 4] = [(3, 700), (8, 1500), (20, 2600), (32, 5000)];
/// Things that one client asks for by turns, so that its window and what it asks for are now in one cell and now in two.
const ASKED: u64 = 4;

/// One request of a client.
pub(super) fn charge(client: u8) -> Charge {
    let (limit, window_ms) = ALLOWANCES[usize::from(client)];
    Charge { client: key_of(client), tier: Tier::Create, count: 1, limit, window_ms }
}

/// What a charged client's windows lie under.
pub(crate) fn key_of(client: u8) -> Key {
    Key::derive(Domain::Client, &[&[client]])
}

/// Which client is charged, if it is one of these.
pub(crate) fn client_of(charge: &Charge) -> Option<u8> {
    (0..ALLOWANCES.len() as u8).find(|client| key_of(*client) == charge.client)
}

/// What a client asks for when it is only charged for it.
pub(super) fn ask(client: u8, number: u64) -> Op {
    let action = invite_code::Action::Register { peer: "peer".to_owned(), ttl_ms: FOREVER_MS };
    Op::Rendezvous(invite_code::Op { key: asked(client, number % ASKED), action })
}

fn asked(client: u8, number: u64) -> Key {
    Key::derive(Domain::Rendezvous, &[b"charged", &[client], &number.to_be_bytes()])
}

/// Which client asked, if this is what it is charged for.
pub(crate) fn asked_by(op: &Op) -> Option<u8> {
    let key = op.key()?;
    (0..ALLOWANCES.len() as u8).find(|client| (0..ASKED).any(|number| asked(*client, number) == *key))
}

/// Has a read charged by this node.
pub(super) fn read(cluster: &Cluster, client: u8) -> Sight {
    let charge = Charge { tier: Tier::Poll, ..charge(client) };
    Sight::Admitted(cluster.charge_read(charge).is_ok())
}

/// Lets the node at hand decide what the log should.
pub(super) async fn admitted_here(cluster: &Cluster, draft: Draft) -> Result<Answer, Error> {
    let charge = draft.charge.expect("only charged commands come here");
    let admitted = cluster.charge_read(charge);
    let answer = cluster.propose(Draft { charge: None, ..draft }).await?;
    Ok(match admitted {
        Ok(balance) => Answer { balance: Some(balance), ..answer },
        Err(balance) => {
            let outcome = Err(Refusal::Allowance { retry_after_ms: 1, scope: Scope::Client });
            Answer { outcome, balance: Some(balance), ..answer }
        }
    })
}
