//! Clients that stop halfway: each is let go in bounded time, and the others are served as if they were not there.

use std::time::Duration;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::raw::{PATIENCE, Raw, statuses};
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

/// Clients of each kind at a time.
const CROWD: usize = 30;
/// No answer to anybody else takes longer; a busy machine needs some of it.
const SERVED: Duration = Duration::from_secs(2);
/// Between two bytes of a client that is slow on purpose.
const TRICKLE: Duration = Duration::from_millis(100);

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
const HALF_A_HEAD: &str = "GET /health HTTP/1.1\r\nhost: a\r\nx: ";
const HALF_A_BODY: &str = "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"action\":";
const HALF_A_CHUNK: &str = "POST /api/relay HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
    transfer-encoding: chunked\r\n\r\n5\r\n{\"a";
const UPGRADE: &str = "GET /api/v1/socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text message, masked with zeros.
fn message(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).ok().filter(|len| *len < 126).expect("a short message");
    [&[0x81, 0x80 | len, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Where a client stops.
#[derive(Debug, Clone, Copy)]
enum Half {
    Nothing,
    Head,
    SlowHead,
    Idle,
    Body,
    Chunk,
    SlowBody,
    SocketWithoutHello,
    SocketWithoutPongs,
    Frame,
}

impl Half {
    const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Head,
        Self::SlowHead,
        Self::Idle,
        Self::Body,
        Self::Chunk,
        Self::SlowBody,
        Self::SocketWithoutHello,
        Self::SocketWithoutPongs,
        Self::Frame,
    ];

    /// Goes so far and no further, until the node closes the connection; what it said until then.
    async fn go(self, node: &Api) -> String {
        let mut connection = Raw::open(node).await;
        match self {
            Self::Nothing => {}
            Self::Head | Self::SlowHead => connection.send(HALF_A_HEAD).await,
            Self::Idle => connection.send(HEALTH).await,
            Self::Body | Self::SlowBody => connection.send(HALF_A_BODY).await,
            Self::Chunk => connection.send(HALF_A_CHUNK).await,
            Self::SocketWithoutHello => connection.send(UPGRADE).await,
            Self::SocketWithoutPongs | Self::Frame => {
                connection.send(UPGRADE).await;
                connection.until("\r\n\r\n").await;
                connection.send(message(r#"{"op":"hello"}"#)).await;
                connection.until("\"ok\":true").await;
                if let Self::Frame = self {
                    let whole = message(r#"{"op":"ping"}"#);
                    connection.send(&whole[..whole.len() / 2]).await;
                }
            }
        }
        if let Self::SlowHead | Self::SlowBody = self {
            // What is read by a look that finds no end is lost; that there is an end is what counts.
            let trickling = async {
                while timeout(TRICKLE, connection.rest()).await.is_err() {
                    connection.send(" ").await;
                }
            };
            timeout(PATIENCE, trickling).await.expect("the connection is closed in time");
            return String::new();
        }
        connection.rest().await
    }

    /// Whether that is what it should have been told.
    fn is_told(self, said: &str) -> bool {
        match self {
            // Nobody said anything to answer to.
            // Browsers open connections that they do not use; what is said there is taken for an answer to what comes next.
            Self::Nothing => said.is_empty(),
            Self::Head | Self::Body | Self::Chunk => statuses(said) == [408],
            Self::Idle => statuses(said) == [200],
            Self::SocketWithoutHello => statuses(said) == [101],
            Self::SlowHead | Self::SlowBody | Self::SocketWithoutPongs | Self::Frame => true,
        }
    }
}

#[tokio::test]
async fn crowds_that_stop_halfway_are_let_go_and_others_are_served_meanwhile() {
    let cluster = Cluster::builder()
        .nodes(1)
        .unmetered()
        .set("http.request_timeout", "2s")
        .set("http.keep_alive", "1s")
        .set("socket.hello_timeout", "3s")
        .set("socket.ping_interval_min", "1s")
        .set("socket.ping_interval_max", "1s")
        .start()
        .await;
    let (node, admin) = (cluster.api(1), cluster.admin(1));
    let crowd = Half::ALL.into_iter().flat_map(|half| std::iter::repeat_n(half, CROWD)).map(|half| {
        let node = node.clone();
        async move {
            // That it ends at all, and when it must, is looked after by whoever reads the rest.
            let said = half.go(&node).await;
            assert!(half.is_told(&said), "{half:?}: {said}");
        }
    });
    let mut crowd = tokio::spawn(join_all(crowd.map(tokio::spawn)));
    let mut served = 0;
    let ended = loop {
        if let Ok(ended) = timeout(Duration::from_millis(20), &mut crowd).await {
            break ended.expect("nobody stops the crowd");
        }
        let began = Instant::now();
        node.get("/api/v1/sessions/resolve?pin=nobody").once().await.refused(404, "pin_not_found");
        assert!(began.elapsed() < SERVED, "others wait: {:?}", began.elapsed());
        served += 1;
    };
    for client in ended {
        client.expect("a client is let go as it should");
    }
    assert!(served > 10, "{served} answers while the crowd was there");
    eventually(SERVED, "no socket is left", async || {
        (admin.get("/sockets").send().await.ok()["count"] == 0).then_some(())
    })
    .await;
}
