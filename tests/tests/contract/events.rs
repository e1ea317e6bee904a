//! `GET /api/v1/events`: a stream in place of a socket.

use conclave_tests::relay::word;
use conclave_tests::shared;

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
