//! Signed requests (RFC 9421): what is covered cannot be changed, and nothing is taken twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Call, Reply};
use conclave_tests::issuer::now;
use conclave_tests::raw::{Raw, statuses};
use conclave_tests::relay::{Pair, poll, signal, word};
use conclave_tests::scratch::Scratch;
use conclave_tests::socket::Socket;
use futures_util::future::join_all;
use ring::{digest, hmac};

const SECRET: &[u8] = b"what only two servers know, 32 bytes or more";

/// A server that signs what it asks.
struct Signer {
    secret: &'static [u8],
    created: u64,
    nonce: String,
}

impl Signer {
    fn new() -> Self {
        Self { secret: SECRET, created: now(), nonce: word("nonce") }
    }

    /// The two headers for a request with this body to `path`, which has no query.
    fn headers(&self, node: &Api, method: &str, path: &str, body: Option<&str>) -> (String, String) {
        self.headers_for(&node.address().to_string(), method, path, body)
    }

    fn headers_for(&self, to: &str, method: &str, path: &str, body: Option<&str>) -> (String, String) {
        let digest = body.map(digest_of);
        let covered = if body.is_some() { " \"content-digest\"" } else { "" };
        let params = format!(
            "(\"@method\" \"@authority\" \"@path\" \"@query\"{covered});created={};nonce=\"{}\";keyid=\"server-1\"",
            self.created, self.nonce
        );
        let line = digest.map(|digest| format!("\"content-digest\": {digest}\n")).unwrap_or_default();
        let base = format!(
            "\"@method\": {method}\n\"@authority\": {to}\n\"@path\": {path}\n\"@query\": ?\n{line}\"@signature-params\": {params}"
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.secret), base.as_bytes());
        (format!("sig={params}"), format!("sig=:{}:", STANDARD.encode(tag)))
    }

    fn post(&self, node: &Api, body: &str) -> Call {
        let (input, signature) = self.headers(node, "POST", "/api/relay", Some(body));
        node.post("/api/relay", &serde_json::Value::Null)
            .body(body.to_owned())
            .header("content-digest", &digest_of(body))
            .header("signature-input", &input)
            .header("signature", &signature)
    }
}

fn digest_of(body: &str) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest::digest(&digest::SHA256, body.as_bytes())))
}

fn chunk() -> String {
    Pair::fresh().send(0, 1, "AAEC").to_string()
}

async fn cluster() -> (Cluster, Scratch) {
    let scratch = Scratch::new();
    let path = scratch.path().join("secret");
    std::fs::write(&path, SECRET).expect("the scratch folder is writable");
    let builder = Cluster::builder()
        .unmetered()
        .set("auth.required", "true")
        .set("auth.signing_keys", &format!("server-1={}", path.display()));
    (builder.start().await, scratch)
}

fn told(reply: &Reply) {
    reply.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_signed_request_is_taken_once_in_the_whole_cluster_and_only_as_it_was_signed() {
    let (cluster, _secret) = cluster().await;
    let (here, there) = cluster.two_followers().await;
    let body = chunk();
    let signer = Signer::new();
    signer.post(&here, &body).once().await.ok();
    told(&signer.post(&here, &body).once().await);
    // As whoever repeats it would: for the other node, with the host that was signed.
    let (input, signature) = signer.headers(&here, "POST", "/api/relay", Some(&body));
    let elsewhere = Signer { created: signer.created, nonce: signer.nonce.clone(), ..Signer::new() };
    told(&elsewhere.post(&there, &body).once().await);
    let repeated = there.post("/api/relay", &serde_json::Value::Null).body(body.clone());
    let repeated = repeated
        .header("content-digest", &digest_of(&body))
        .header("signature-input", &input)
        .header("signature", &signature);
    told(&repeated.once().await);

    let other = chunk();
    told(&Signer::new().post(&here, &body).body(other.clone()).once().await);
    told(&Signer::new().post(&here, &body).header("authorization", "Bearer a.b.c").once().await);
    told(
        &Signer { secret: b"another secret of thirty-two bytes or more", ..Signer::new() }
            .post(&here, &body)
            .once()
            .await,
    );
    for created in [now() - 70, now() + 70] {
        told(&Signer { created, ..Signer::new() }.post(&here, &body).once().await);
    }
    let (input, signature) = Signer::new().headers(&here, "POST", "/api/relay", None);
    let uncovered = here.post("/api/relay", &serde_json::Value::Null).body(other);
    told(&uncovered.header("signature-input", &input).header("signature", &signature).once().await);
    let moved = here.post("/api/v1/relay", &serde_json::Value::Null).body(String::new());
    told(&moved.header("signature-input", &input).header("signature", &signature).once().await);
}

#[tokio::test]
async fn a_request_that_was_signed_without_a_body_can_be_given_none() {
    let (cluster, _secret) = cluster().await;
    let node = cluster.follower().await;
    let path = "/api/v1/sessions";
    for (what, more, body) in [
        ("a length", "content-length: 2\r\n", "{}"),
        ("chunks", "transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        (
            "a length beside an upgrade",
            "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n",
            "{}",
        ),
        (
            "chunks beside an upgrade",
            "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n",
            "2\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let (input, signature) = Signer::new().headers(&node, "POST", path, None);
        let mut raw = Raw::open(&node).await;
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nsignature-input: {input}\r\nsignature: {signature}\r\n\
             connection: close\r\n{more}\r\n{body}",
            node.address()
        ))
        .await;
        let answers = raw.rest().await;
        assert_eq!(statuses(&answers).first(), Some(&401), "{what}: {answers}");
    }
    // As it was signed it is taken, also with a wish that leads nowhere and bytes behind its end.
    let (input, signature) = Signer::new().headers(&node, "POST", path, None);
    let mut raw = Raw::open(&node).await;
    raw.send(format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nsignature-input: {input}\r\nsignature: {signature}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\n{{\"pin\":\"planted1\"}}\r\n\r\n",
        node.address()
    ))
    .await;
    let answers = raw.rest().await;
    assert_eq!(statuses(&answers), [200, 400], "{answers}");
    assert!(!answers.contains("planted1"), "a stranger's bytes are no body: {answers}");
}

#[tokio::test]
async fn whom_a_request_is_for_stands_in_its_target_if_it_does_whatever_host_says() {
    let (cluster, _secret) = cluster().await;
    let node = cluster.follower().await;
    let (own, path) = (node.address().to_string(), "/api/v1/sessions");
    for (signed_for, target, host, status) in [
        ("other.example", "other.example", own.as_str(), 200),
        (own.as_str(), "other.example", own.as_str(), 401),
        (own.as_str(), own.as_str(), "other.example", 200),
    ] {
        let (input, signature) = Signer::new().headers_for(signed_for, "POST", path, None);
        let mut raw = Raw::open(&node).await;
        raw.send(format!(
            "POST http://{target}{path} HTTP/1.1\r\nhost: {host}\r\nsignature-input: {input}\r\n\
             signature: {signature}\r\nconnection: close\r\n\r\n"
        ))
        .await;
        let answer = raw.rest().await;
        assert_eq!(statuses(&answer), [status], "for {signed_for}, to {target}, under {host}: {answer}");
    }
}

#[tokio::test]
async fn of_many_nodes_that_are_shown_one_nonce_at_once_one_takes_it() {
    let (cluster, _secret) = cluster().await;
    let body = chunk();
    let signer = Signer::new();
    // Signed for each of them: only the nonce tells that it is the same.
    let calls = cluster.apis().into_iter().cycle().take(12).map(|node| {
        let call = signer.post(&node, &body);
        async move { call.once().await.status }
    });
    let mut statuses = join_all(calls).await;
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 11, "{statuses:?}");
}

#[tokio::test]
async fn who_signs_reads_what_is_sent_to_the_backend() {
    let (cluster, _secret) = cluster().await;
    let node = cluster.follower().await;
    let shop = format!("backend:{}", word("shop"));
    let ask = async |body: serde_json::Value| Signer::new().post(&node, &body.to_string()).once().await;
    ask(signal("customer", &shop, "answer", 1.into())).await.ok();
    assert_eq!(ask(poll(&shop)).await.ok()["messages"][0]["payload"], 1);
    ask(signal(&shop, "customer", "answer", 1.into())).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_signature_opens_a_socket() {
    let (cluster, _secret) = cluster().await;
    let node = cluster.follower().await;
    let (input, signature) = Signer::new().headers(&node, "GET", "/api/v1/socket", None);
    let headers = [("signature-input", input.as_str()), ("signature", signature.as_str())];
    let opened = Socket::try_at(&node, "/api/v1/socket", &headers).await;
    assert!(opened.is_ok());
    let again = Socket::try_at(&node, "/api/v1/socket", &headers).await;
    assert_eq!(again.err(), Some(401));
}
