//! `GET /api/v1/events`: a stream in place of a socket.

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::word;
use conclave_tests::shared;
use futures_util::future::join;
use serde_json::json;

#[tokio::test]
async fn a_stream_says_where_it_begins() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let room = word("room");
    let mut stream = node.get(&format!("/api/v1/events?room={room}")).open().await.expect("a stream");
    let welcome = stream.expect("welcome").await;
    assert_eq!(welcome.data["room"], room);
    assert!(welcome.data["recovered"].is_null(), "nothing was asked for: {welcome:?}");
}

#[tokio::test]
async fn a_history_that_is_not_there_is_not_recovered() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let call = node.get(&format!("/api/v1/events?room={}", word("room"))).header("last-event-id", "7:3");
    let mut stream = call.open().await.expect("a stream");
    assert_eq!(stream.expect("welcome").await.data["recovered"], false);
}

#[tokio::test]
async fn a_stream_is_about_one_thing() {
    let cluster = shared::standard().await;
    let node = cluster.follower().await;
    let long = "x".repeat(129);
    for query in ["", "?room=", &format!("?room={long}"), "?room=a&peerId=b"] {
        node.get(&format!("/api/v1/events{query}")).send().await.refused(400, "invalid_input");
    }
}

#[tokio::test]
async fn a_stream_is_told_when_its_node_goes_away() {
    let mut cluster = Cluster::builder().nodes(1).start().await;
    let mut stream = cluster.api(1).get("/api/v1/events?room=lobby").open().await.expect("a stream");
    stream.expect("welcome").await;
    let listening = async {
        let drain = stream.expect("drain").await;
        (drain, stream.next().await)
    };
    let (code, (drain, after)) = join(cluster.terminate(1), listening).await;
    assert!(drain.data["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 3_000), "{drain:?}");
    assert_eq!((code, after), (Some(0), None), "nobody waits for the other");
}

#[tokio::test]
async fn a_stream_ends_on_every_node_when_its_token_is_revoked() {
    let (cluster, issuer) = shared::guarded().await;
    let id = word("token");
    let token = issuer.token("alice", json!({"scope": "socket", "rooms": ["lobby"], "jti": id}));
    let mut streams = Vec::new();
    for node in cluster.apis() {
        let call = node.get("/api/v1/events?room=lobby").header("authorization", &format!("Bearer {token}"));
        let mut stream = call.open().await.expect("a stream");
        stream.expect("welcome").await;
        streams.push(stream);
    }
    issuer.revoke(&format!("jti {id}"));
    for stream in &mut streams {
        assert_eq!(stream.next().await, None);
    }
}
