//! `POST /api/relay`, actions `register` and `lookup`: invite codes.

use conclave_tests::relay::{invite_code, lookup, peer_id, register, with};
use conclave_tests::shared;
use serde_json::json;

#[tokio::test]
async fn a_code_registered_on_one_node_is_looked_up_on_another() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (code, peer) = (invite_code(), peer_id());
    let registered = here.relay(&register(&code, &peer)).send().await.ok();
    assert_eq!(registered, json!({"status": "registered", "ttlSec": 30}));
    assert_eq!(there.relay(&lookup(&code)).send().await.ok(), json!({"peerId": peer}));
}

#[tokio::test]
async fn the_same_peer_renews_its_code() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (code, peer) = (invite_code(), peer_id());
    here.relay(&register(&code, &peer)).send().await.ok();
    let renewed = there.relay(&register(&code, &peer)).send().await.ok();
    assert_eq!(renewed, json!({"status": "registered", "ttlSec": 30}));
}

#[tokio::test]
async fn a_code_held_by_another_peer_is_refused() {
    let (_cluster, here, there) = shared::standard().await.and_two_nodes().await;
    let (code, holder) = (invite_code(), peer_id());
    here.relay(&register(&code, &holder)).send().await.ok();
    there.relay(&register(&code, &peer_id())).send().await.refused(400, "invite_code_in_use");
    assert_eq!(
        there.relay(&lookup(&code)).send().await.ok(),
        json!({"peerId": holder}),
        "the holder keeps it"
    );
}

#[tokio::test]
async fn of_many_peers_that_want_one_code_at_once_one_gets_it() {
    let cluster = shared::standard().await;
    let nodes = cluster.apis();
    let code = invite_code();
    let requests = (0..12).map(|wish| nodes[wish % nodes.len()].relay(&register(&code, &peer_id())).send());
    let replies = futures_util::future::join_all(requests).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(won.len(), 1);
    for reply in lost {
        reply.refused(400, "invite_code_in_use");
    }
}

#[tokio::test]
async fn a_registration_needs_both_fields() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let whole = register(&invite_code(), &peer_id());
    for field in ["inviteCode", "peerId"] {
        for value in [None, Some(json!("")), Some(json!(12_345_678))] {
            node.relay(&with(&whole, field, value)).send().await.refused(400, "missing_fields");
        }
    }
}

#[tokio::test]
async fn a_peer_id_has_at_most_256_characters() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let longest = format!("{:x<256}", peer_id());
    node.relay(&register(&invite_code(), &longest)).send().await.ok();
    let longer = format!("{longest}x");
    node.relay(&register(&invite_code(), &longer)).send().await.refused(400, "invalid_input");
}

#[tokio::test]
async fn a_code_is_8_to_16_letters_and_digits() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    let code = invite_code();
    for length in 8..=16 {
        let (code, peer) = (format!("{code:x<16}")[..length].to_owned(), peer_id());
        node.relay(&register(&code, &peer)).send().await.ok();
        assert_eq!(node.relay(&lookup(&code)).send().await.ok()["peerId"], peer, "{code}");
    }
    for code in ["abcdefg", "abcdefghijklmnopq", "abcd-fgh", "abcd fgh", "abcdéfgh", "abcdefg\n"] {
        node.relay(&register(code, &peer_id())).send().await.refused(400, "invalid_invite_code");
    }
}

#[tokio::test]
async fn a_lookup_needs_a_code() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    for value in [None, Some(json!("")), Some(json!(7))] {
        let wish = with(&lookup("unused00"), "inviteCode", value);
        node.relay(&wish).send().await.refused(400, "missing_invite_code");
    }
}

#[tokio::test]
async fn a_code_nobody_registered_is_not_found() {
    let (_cluster, node) = shared::standard().await.and_node().await;
    node.relay(&lookup(&invite_code())).send().await.refused(404, "peer_not_found");
}
