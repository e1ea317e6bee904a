//! Revocations by the admin API and the command line: told to one node, known to all.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Reply};
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::{Pair, word};
use conclave_tests::shared;
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const PATH: &str = "/admin/v1/revocations";
/// Within this time every node acts by a revocation.
const KNOWN: Duration = Duration::from_secs(1);
/// The same, where much else goes on on the machine.
const PATIENCE: Duration = Duration::from_secs(5);

async fn sent(node: &Api, token: &str) -> Reply {
    let call = node.relay(&Pair::fresh().send(0, 1, "x"));
    call.header("authorization", &format!("Bearer {token}")).send().await
}

/// Waits until every node refuses a token.
async fn refused_everywhere(cluster: &Cluster, token: &str) {
    for node in cluster.apis() {
        eventually(PATIENCE, "the revocation is known", async || {
            (sent(&node, token).await.status == 401).then_some(())
        })
        .await;
    }
}

/// Waits until every node takes a token.
async fn taken_everywhere(cluster: &Cluster, token: &str) {
    for node in cluster.apis() {
        eventually(PATIENCE, "it is known that it is lifted", async || {
            (sent(&node, token).await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_one_node_is_told_is_refused_on_all_and_nothing_else_is() {
    let (cluster, issuer) = shared::guarded().await;
    let (id, subject, owner) = (word("token"), word("subject"), word("owner"));
    let by_id = issuer.token("alice", json!({"scope": "relay", "jti": id}));
    let by_subject = issuer.token(&subject, json!({"scope": "relay"}));
    let by_device = issuer.token(&owner, json!({"scope": "relay", "device": "phone"}));
    let others = [
        issuer.token("alice", json!({"scope": "relay", "jti": word("token")})),
        issuer.token(&owner, json!({"scope": "relay", "device": "desk"})),
        issuer.token(&owner, json!({"scope": "relay"})),
    ];
    let whose = [
        (json!({"token": id}), &by_id),
        (json!({"subject": subject}), &by_subject),
        (json!({"subject": owner, "device": "phone"}), &by_device),
    ];
    let followers = cluster.followers().await;
    let (told, asked) = (cluster.admin(followers[0]), cluster.admin(followers[1]));
    for (whose, token) in &whose {
        taken_everywhere(&cluster, token).await;
        let answer = told.post(PATH, &json!({"whose": whose, "forSeconds": 600})).send().await.ok();
        let listed = asked.get(PATH).send().await.ok();
        let found = listed["revocations"].as_array().expect("a list").iter().find(|it| &it["whose"] == whose);
        assert_eq!(found.expect("it is listed at once")["expiresMs"], answer["expiresMs"]);
        refused_everywhere(&cluster, token).await;
    }
    for token in &others {
        taken_everywhere(&cluster, token).await;
    }
    for (whose, token) in &whose {
        let lift = || asked.post(&format!("{PATH}/lift"), &json!({"whose": whose})).send();
        assert_eq!(lift().await.ok()["wasRevoked"], true);
        assert_eq!(lift().await.ok()["wasRevoked"], false);
        taken_everywhere(&cluster, token).await;
    }
}

#[tokio::test]
async fn sockets_of_whom_is_revoked_are_closed_on_every_node_and_no_others() {
    let (cluster, issuer) = shared::guarded().await;
    let subject = word("subject");
    let grants = json!({"scope": "socket", "rooms": "*"});
    let (token, other) = (issuer.token(&subject, grants.clone()), issuer.token(&word("other"), grants));
    let bearer = |token: &str| format!("Bearer {token}");
    let (mut revoked, mut others) = (Vec::new(), Vec::new());
    for node in cluster.apis() {
        for (token, sockets) in [(&token, &mut revoked), (&other, &mut others)] {
            let opened = Socket::try_at(&node, "/ws", &[("authorization", &bearer(token))]).await;
            let mut socket = opened.expect("it is granted");
            socket.ok(json!({"op": "hello"})).await;
            sockets.push(socket);
        }
    }
    let began = Instant::now();
    let admin = cluster.admin(cluster.leader().await);
    admin.post(PATH, &json!({"whose": {"subject": subject}})).send().await.ok();
    for socket in &mut revoked {
        assert_eq!(timeout(PATIENCE, socket.end()).await.expect("it is closed"), Some(1008));
    }
    println!("closed after {:?}; {KNOWN:?} is promised", began.elapsed());
    for socket in &mut others {
        socket.ok(json!({"op": "ping"})).await;
    }
}

#[tokio::test]
async fn what_names_nobody_is_refused_and_changes_nothing() {
    let (cluster, _) = shared::guarded().await;
    let admin = cluster.admin(1);
    let long = "x".repeat(257);
    let wrong: [(Value, &str); 9] = [
        (json!({"whose": {}}), "invalid_input"),
        (json!({"whose": {"token": "a", "subject": "b"}}), "invalid_input"),
        (json!({"whose": {"device": "phone"}}), "invalid_input"),
        (json!({"whose": {"subject": ""}}), "invalid_input"),
        (json!({"whose": {"token": long}}), "invalid_input"),
        (json!({"whose": {"subject": word("s")}, "forSeconds": 0}), "invalid_input"),
        (json!({"whose": {"subject": word("s")}, "forSeconds": -1}), "invalid_json"),
        (json!({"whose": {"subject": word("s"), "wings": 2}}), "invalid_json"),
        (json!({"subject": word("s")}), "invalid_json"),
    ];
    let count = async || {
        let listed = admin.get(PATH).send().await.ok();
        let of_ours =
            |it: &&Value| it["whose"]["subject"].as_str().is_some_and(|name| name.starts_with("s-"));
        listed["revocations"].as_array().expect("a list").iter().filter(of_ours).count()
    };
    let before = count().await;
    for (body, code) in &wrong {
        admin.post(PATH, body).send().await.refused(400, code);
    }
    assert_eq!(count().await, before);
    admin.delete(PATH).send().await.refused(405, "method_not_allowed");
    // The public listener knows no such path.
    cluster.api(1).get(PATH).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn the_command_line_revokes_lists_and_lifts_and_all_outlive_every_node() {
    let issuer = Issuer::new();
    let mut cluster = issuer.guard(Cluster::builder().unmetered()).start().await;
    let token = issuer.token("org/ann", json!({"scope": "relay", "device": "phone"}));
    taken_everywhere(&cluster, &token).await;
    let url = |cluster: &Cluster, id| cluster.node(id).admin.to_string();
    let command = async |cluster: &Cluster, args: &[&str]| {
        let admin = url(cluster, 2);
        let (code, printed) = cluster.command(&[args, &["--url", &admin]].concat()).await;
        assert_eq!(code, Some(0), "{printed}");
        printed
    };
    assert_eq!(command(&cluster, &["revocations"]).await, "nothing is revoked\n");
    let printed = command(&cluster, &["revoke", "--device", "org/ann/phone", "--for", "30d"]).await;
    assert_eq!(printed, "device org/ann/phone is revoked for 30d\n");
    refused_everywhere(&cluster, &token).await;

    cluster.kill_all().await;
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    for node in cluster.apis() {
        // A node that is ready knows what is revoked.
        sent(&node, &token).await.refused(401, "unauthorized");
    }
    assert_eq!(command(&cluster, &["revocations"]).await, "device org/ann/phone for 30d\n");
    let printed = command(&cluster, &["revoke", "--device", "org/ann/phone", "--lift"]).await;
    assert_eq!(printed, "device org/ann/phone is revoked no more\n");
    taken_everywhere(&cluster, &token).await;
}
