use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that reads one request and answers `answer`.
async fn answering(status: &str, body: &str) -> (Client, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (Client::new(&url, Duration::from_secs(5)).unwrap(), server)
}

#[tokio::test]
async fn a_status_is_read_and_unknown_fields_are_passed_over() {
    let (client, _) = answering(
        "200 OK",
        r#"{"leader":1,"term":2,"nodes":[{"id":1,"http":"h","admin":"a","pid":3,"role":"leader","applied":4,"last_log":5,"mood":"good"}]}"#,
    )
    .await;
    let status = client.status().await.unwrap();
    assert_eq!((status.leader, status.term, status.nodes[0].last_log), (Some(1), 2, 5));
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_sentence() {
    let (client, server) =
        answering("409 Conflict", r#"{"error":"busy","message":"Another change is on.","requestId":"0190"}"#)
            .await;
    let error = client.add(4, "host:1").await.unwrap_err();
    assert_eq!(error.to_string(), "Another change is on. (busy)");
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /cluster/members?force=false&withinMs=4000 HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"id":4,"peer":"host:1"}"#), "{request}");
}

#[tokio::test]
async fn the_public_listener_is_told_by_its_answer() {
    let body = r#"{"error":"not_found","message":"Not found.","requestId":"0190"}"#;
    let (client, _) = answering("404 Not Found", body).await;
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("is a public listener (http.listen)"), "{error}");
}

#[tokio::test]
async fn a_listener_that_speaks_tls_is_told_by_its_answer() {
    let body = r#"{"error":"tls_required","message":"This port speaks TLS: https in place of http."}"#;
    let (client, _) = answering("426 Upgrade Required", body).await;
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().ends_with("speaks TLS: https:// in place of http://"), "{error}");
}

#[tokio::test]
async fn strangers_and_silence_are_told_apart() {
    let (client, _) = answering("500 No", "no").await;
    assert!(matches!(client.status().await, Err(Error::Stranger(_))));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = Client::new(&url, Duration::from_millis(50)).unwrap();
    assert!(matches!(silent.status().await, Err(Error::TimedOut { .. })));
    drop(listener);
    assert!(matches!(silent.status().await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn what_is_typed_is_one_value_of_the_query() {
    for (typed, encoded) in
        [("Bad Name", "Bad+Name"), ("M\u{fc}ller", "M%C3%BCller"), ("a&tenant=b", "a%26tenant%3Db")]
    {
        let (client, server) = answering("200 OK", r#"{"tenants":[]}"#).await;
        client.tenants(Some(typed)).await.unwrap();
        let request = server.await.unwrap();
        assert!(
            request.starts_with(&format!("GET /admin/v1/tenants?tenant={encoded} HTTP/1.1\r\n")),
            "{request}"
        );
        let (client, server) = answering("200 OK", r#"{"enabled":false,"tiers":[]}"#).await;
        client.allowances([192, 0, 2, 1].into(), Some(typed)).await.unwrap();
        let request = server.await.unwrap();
        assert!(request.contains(&format!("?address=192.0.2.1&tenant={encoded} ")), "{request}");
        let which = Which { subject: Some(typed.to_owned()), ..Which::default() };
        assert_eq!(which.query(Some("a&b")), format!("after=a%26b&subject={encoded}"));
    }
}

#[tokio::test]
async fn what_a_broken_connection_may_be_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap();
    // Closed by what it says first, which is no HTTP, and no TLS either.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"\x15\x03\x03\x00\x02\x02\x46").await.unwrap();
        }
    });
    let said = async |scheme: &str| {
        let client = Client::new(&format!("{scheme}://{authority}"), Duration::from_secs(5)).unwrap();
        client.status().await.unwrap_err().to_string()
    };
    assert!(said("http").await.ends_with("; does it speak TLS (https://)?"), "{}", said("http").await);
    let told = said("https").await;
    assert!(told.ends_with("; does it ask for a client certificate (--cert, --key)?"), "{told}");
}

#[test]
fn urls_are_checked() {
    for url in ["", "127.0.0.1:9400", "ftp://127.0.0.1:9400", "http://", "https://host/path"] {
        assert!(Client::new(url, Duration::from_secs(1)).is_err(), "{url}");
    }
    assert_eq!(Client::new("http://[::1]:9400/", Duration::from_secs(1)).unwrap().host, "::1");
    assert_eq!(Client::new("https://host", Duration::from_secs(1)).unwrap().url, "https://host:443");
}
