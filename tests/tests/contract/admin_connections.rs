//! What the admin and the telemetry listener do with a connection: how long it lasts, and what is refused unread.

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::raw::{Answer, Exchange, Raw, statuses};

/// What is said to one request on a connection of its own.
async fn ask(api: &Api, request: &str) -> Answer {
    Exchange::over(Raw::open(api).await).ask(request).await.expect("an answer")
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
}

#[tokio::test]
async fn an_answer_to_whoever_shows_no_token_is_the_last_of_its_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let builder = Cluster::builder().nodes(1).unmetered().set("admin.require_token", "true");
    let cluster = builder.set("telemetry.listen", &address).start_only(&[1]).await;
    let admin = cluster.admin(1);
    conclave_tests::wait::eventually(conclave_tests::cluster::READY, "it listens", async || {
        admin.get("/livez").attempt().await.ok()
    })
    .await;
    let file = cluster.installation(1).data_dir.join("admin-token");
    let token = std::fs::read_to_string(file).expect("the node made a token");
    let shown = format!("authorization: Bearer {}\r\n", token.trim());
    for path in ["/livez", "/console.js", "/metrics"] {
        let answer = ask(&admin, &get(path, "")).await;
        assert!(answer.is_last, "{path}: {}", answer.head);
        let answer = ask(&admin, &get(path, &shown)).await;
        assert_eq!((answer.status, answer.is_last), (200, false), "{path}: {}", answer.head);
    }
    let telemetry = Api::new(&format!("http://{address}"));
    for path in ["/livez", "/metrics"] {
        let answer = ask(&telemetry, &get(path, "")).await;
        assert_eq!((answer.status, answer.is_last), (200, true), "{path}: {}", answer.head);
    }
    // A refusal is read although the body behind it was not.
    let post = format!(
        "POST /admin/v1/publish HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\n{}",
        "x".repeat(60_000)
    );
    assert_eq!(ask(&admin, &post).await.status, 401);
}

#[tokio::test]
async fn heads_are_read_by_the_letter_and_refused_in_the_one_format() {
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let admin = cluster.admin(1);
    for (head, status, code) in [
        ("GET /livez HTTP/1.1\nhost: localhost\n\n".to_owned(), 400, "invalid_input"),
        ("GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400, "invalid_input"),
        (get("/livez", &format!("x: {}\r\n", "y".repeat(40_000))), 431, "headers_too_large"),
        ("TRACE /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 405, "method_not_allowed"),
    ] {
        let answer = ask(&admin, &head).await;
        assert!(answer.status == status && answer.is_last, "{}", answer.head);
        assert!(answer.body.contains(&format!("\"error\":\"{code}\"")), "{}", answer.body);
        assert!(answer.head.contains("x-request-id: "), "{}", answer.head);
    }
    // On loopback, without a token, connections last.
    let mut operator = Exchange::over(Raw::open(&admin).await);
    for _ in 0..3 {
        let answer = operator.ask(&get("/cluster/status", "")).await.expect("it is still there");
        assert_eq!((answer.status, answer.is_last), (200, false));
    }
    // Nobody becomes a socket here.
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = ask(&admin, &get("/livez", upgrade)).await;
    assert_eq!((answer.status, answer.is_last), (200, true), "{}", answer.head);
}

#[tokio::test]
async fn a_head_and_a_body_have_their_time() {
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let admin = cluster.admin(1);
    let told = async |sent: &str| {
        let mut connection = Raw::open(&admin).await;
        connection.send(sent).await;
        // It is closed, or this waits in vain.
        statuses(&connection.rest().await)
    };
    let post = "POST /admin/v1/revocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    let (head, body, silent) = tokio::join!(told("GET /livez HT"), told(post), told(""));
    assert_eq!((head, body, silent), (vec![408], vec![408], Vec::new()));
}

#[tokio::test]
async fn contents_as_long_as_they_may_be_come_in() {
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let admin = cluster.admin(1);
    let call = serde_json::json!({"room": "a", "data": "x".repeat(65_000)});
    assert_eq!(admin.post("/admin/v1/publish", &call).send().await.status, 200);
    // The same in two parts.
    let body = call.to_string();
    let mut connection = Raw::open(&admin).await;
    let head = format!(
        "POST /admin/v1/publish HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.send(head).await;
    connection.send(body).await;
    assert_eq!(statuses(&connection.rest().await), [200]);
}
