//! The audit logs: what the admin API was asked to change, and what was tried.

use std::fs;

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::issuer::Issuer;
use conclave_tests::relay::word;
use conclave_tests::scratch::Scratch;
use conclave_tests::socket::Socket;
use conclave_tests::wait::eventually;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const REVOCATIONS: &str = "/admin/v1/revocations";
/// A transfer that is not there.
const UNKNOWN: &str = "/admin/v1/transfers/0123456789abcdef";

/// Calls and outcomes of all entries.
fn told(page: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let entries = page["entries"].as_array().expect("a list").iter();
    entries.map(|entry| (text(&entry["entry"]["call"]), text(&entry["entry"]["outcome"]))).collect()
}

#[tokio::test]
async fn what_is_asked_of_one_node_is_told_by_all_and_survives_them() {
    let mut cluster = Cluster::builder().unmetered().start().await;
    let subject = word("subject");
    let body = json!({"whose": {"subject": subject}});
    cluster.admin(1).post(REVOCATIONS, &body).send().await.ok();
    cluster.admin(2).post(&format!("{REVOCATIONS}/lift"), &body).send().await.ok();
    cluster.admin(3).delete("/cluster/members/9").send().await.refused(404, "unknown_node");
    cluster.admin(1).delete(UNKNOWN).send().await.refused(404, "unknown_id");
    // What only reads, or is wrong, is not written down.
    cluster.admin(1).get(REVOCATIONS).send().await.ok();
    cluster.admin(1).post(REVOCATIONS, &json!({"whose": {}})).send().await.refused(400, "invalid_input");

    let asked = |call: &str| (call.to_owned(), "asked".to_owned());
    let expected = [
        asked("POST /admin/v1/revocations"),
        asked("POST /admin/v1/revocations/lift"),
        asked("DELETE /cluster/members/9"),
        ("DELETE /cluster/members/9".to_owned(), "unknown_node".to_owned()),
        asked(&format!("DELETE {UNKNOWN}")),
        (format!("DELETE {UNKNOWN}"), "unknown_id".to_owned()),
    ];
    for node in 1..=3 {
        let page = cluster.admin(node).get("/admin/v1/audit").send().await.ok();
        assert_eq!(told(&page), expected);
        assert_eq!(page["head"]["seq"], 6);
        assert_eq!(page["head"]["hash"], page["entries"][5]["hash"]);
        assert!(!page.to_string().contains(&subject), "names are in it as digests alone");
        let entries = page["entries"].as_array().expect("a list");
        assert_eq!(entries[0]["entry"]["about"], entries[1]["entry"]["about"]);
        assert_eq!(entries[2]["entry"]["about"], "node 9");
        assert_eq!(entries[2]["entry"]["requestId"], entries[3]["entry"]["requestId"]);
    }
    let rest = cluster.admin(1).get("/admin/v1/audit?after=2&count=1").send().await.ok();
    assert_eq!(told(&rest), expected[2..3]);

    cluster.kill_all().await;
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_ready().await;
    assert_eq!(told(&cluster.admin(2).get("/admin/v1/audit").send().await.ok()), expected);
}

#[tokio::test]
async fn a_copy_is_verified_and_what_is_missing_or_changed_shows() {
    let scratch = Scratch::new();
    let cluster = Cluster::builder().nodes(1).unmetered().start().await;
    let url = cluster.node(1).admin.to_string();
    for n in 0..5 {
        let body = json!({"whose": {"token": format!("t-{n}")}});
        cluster.admin(1).post(REVOCATIONS, &body).send().await.ok();
    }
    let (code, lines) = cluster.command(&["audit", "--json", "--url", &url]).await;
    assert_eq!(code, Some(0), "{lines}");
    let whole: Vec<&str> = lines.lines().collect();
    assert_eq!(whole.len(), 5);
    let path = scratch.path().join("audit.jsonl").display().to_string();
    let verify_with = async |options: &[&str], lines: &[&str]| {
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("written");
        let call = ["audit", "--verify", &path, "--url", &url];
        cluster.command(&[&call[..], options].concat()).await
    };
    let verify = async |lines: &[&str]| verify_with(&[], lines).await;
    assert_eq!(verify(&whole).await, (Some(0), "5 entries, whole and in order\n".to_owned()));
    let changed = whole[2].replace("revocations", "revocationz");
    for (wrong, why) in [
        (&[whole[0], whole[1], &changed, whole[3], whole[4]][..], "entry 3 was changed"),
        (&[whole[0], whole[2], whole[3], whole[4]][..], "entry 3 follows entry 1"),
        (&whole[..4], "it ends with entry 4, and the cluster has 1 newer"),
    ] {
        let (code, said) = verify(wrong).await;
        assert!(code == Some(1) && said.contains(why), "{code:?} {said}");
    }
    // What is appended from time to time is verified though an entry is written between the two.
    let allow_newer = async |lines: &[&str]| verify_with(&["--allow-newer"], lines).await;
    let older = "4 entries, whole and in order; the cluster has 1 newer\n".to_owned();
    assert_eq!(allow_newer(&whole[..4]).await, (Some(0), older));
    assert_eq!(allow_newer(&whole).await, (Some(0), "5 entries, whole and in order\n".to_owned()));
    for wrong in [&[whole[0], whole[1], &changed][..], &[whole[0], whole[2]]] {
        assert_eq!(allow_newer(wrong).await.0, Some(1));
    }
    // A log that is whole, and not this cluster's.
    let other = Cluster::builder().nodes(1).unmetered().start().await;
    for n in 0..2 {
        let body = json!({"whose": {"token": format!("t-{n}")}});
        other.admin(1).post(REVOCATIONS, &body).send().await.ok();
    }
    let (_, lines) = other.command(&["audit", "--json", "--url", &other.node(1).admin.to_string()]).await;
    let (code, said) = allow_newer(&lines.lines().collect::<Vec<_>>()).await;
    assert!(code == Some(1) && said.contains("entry 2 is another one"), "{code:?} {said}");
}

/// All security events that were written down.
async fn events(admin: &Api, token: Option<&str>) -> Vec<Value> {
    let mut call = admin.get("/admin/v1/audit?log=security");
    if let Some(token) = token {
        call = call.header("authorization", &format!("Bearer {token}"));
    }
    let page = call.send().await.ok();
    page["entries"].as_array().expect("a list").iter().map(|entry| entry["entry"].clone()).collect()
}

/// Waits for an event of this name and kind.
async fn event(admin: &Api, token: Option<&str>, name: &str, kind: Option<&str>) -> Value {
    eventually(READY, &format!("{name} {kind:?} is told"), async || {
        let events = events(admin, token).await;
        events.into_iter().find(|event| event["event"] == name && event["kind"].as_str() == kind)
    })
    .await
}

#[tokio::test]
async fn who_signs_in_and_what_is_refused_is_told_and_a_flood_of_it_pushes_no_change_out() {
    let issuer = Issuer::new();
    let cluster = issuer.guard(Cluster::builder().unmetered()).start().await;
    let (api, admin, subject) = (cluster.api(2), cluster.admin(3), word("alice"));
    let whose = json!({"whose": {"subject": word("subject")}});
    cluster.admin(1).post(REVOCATIONS, &whose).send().await.ok();
    let bearer = |token: &str| format!("Bearer {token}");
    let bad = bearer(&Issuer::sign(&[b'x'; 40], &json!({"alg": "HS256"}), &Issuer::claims("eve", json!({}))));
    let ask = async |bearer: &str| {
        api.get("/api/v1/ice").header("authorization", bearer).send().await.refused(401, "unauthorized");
    };
    for _ in 0..20 {
        join_all((0..50).map(|_| ask(&bad))).await;
    }
    // Another kind is told beside the flood, and so is who gets in.
    ask(&bearer(&issuer.token("eve", json!({"exp": 1})))).await;
    let refused = json!({"whose": {"token": "t-9"}});
    cluster.admin(1).post(REVOCATIONS, &refused).send().await.ok();
    let revoked = bearer(&issuer.token("eve", json!({"jti": "t-9"})));
    eventually(READY, "it is revoked", async || {
        let told = api.get("/api/v1/ice").header("authorization", &revoked).send().await;
        (told.status == 401).then_some(())
    })
    .await;
    let token = bearer(&issuer.token(&subject, json!({"scope": "socket"})));
    let _socket =
        Socket::try_at(&api, "/api/v1/socket", &[("authorization", &token)]).await.expect("it is let in");
    let ticket =
        api.post("/api/v1/tickets", &json!({})).header("authorization", &token).send().await.status(201);
    let path = format!("/api/v1/socket?ticket={}", ticket["ticket"].as_str().expect("a ticket"));
    let _other = Socket::try_at(&api, &path, &[]).await.expect("it is let in");
    assert_eq!(Socket::try_at(&api, &path, &[]).await.err(), Some(401));
    for kind in ["expired", "revoked", "bad_ticket"] {
        let told = event(&admin, None, "refused_credentials", Some(kind)).await;
        assert!(told["first"][0]["from"] == "127.0.0.1" && told["sinceMs"].is_u64(), "{told}");
    }
    let signed_in = event(&admin, None, "sign_ins", Some("token")).await;
    let by_ticket = event(&admin, None, "sign_ins", Some("ticket")).await;
    assert_eq!(signed_in["first"][0]["about"], by_ticket["first"][0]["about"]);
    let all = events(&admin, None).await;
    assert!(!json!(all).to_string().contains(&subject), "names are in it as digests alone");
    let bad: Vec<&Value> = all.iter().filter(|event| event["kind"] == "bad_token").collect();
    assert!((1..=3).contains(&bad.len()), "a thousand make a few entries: {bad:?}");
    // The changes are a log of their own.
    let changes = admin.get("/admin/v1/audit").send().await.ok();
    assert_eq!(changes["head"]["seq"], 2);
    assert_eq!(told(&changes).len(), 2);
    // By the command line, with whom it was about; and it is a chain as well.
    let url = cluster.node(1).admin.to_string();
    let log = ["audit", "--log", "security", "--url", &url];
    let (code, lines) = cluster.command(&[&log[..], &["--subject", &subject]].concat()).await;
    assert!(code == Some(0) && lines.lines().count() == 2, "{lines}");
    let (_, lines) = cluster.command(&[&log[..], &["--json"]].concat()).await;
    let (scratch, count) = (Scratch::new(), lines.lines().count());
    let file = scratch.path().join("security.jsonl");
    fs::write(&file, &lines).expect("written");
    let file = file.display().to_string();
    let verify = ["--verify", &file, "--allow-newer"];
    let (code, said) = cluster.command(&[&log[..], &verify[..]].concat()).await;
    assert!(code == Some(0) && said.contains(&format!("{count} entries, whole")), "{code:?} {said}");
    admin.get("/admin/v1/audit?log=all").send().await.refused(400, "invalid_input");
}

#[tokio::test]
async fn callers_without_the_admin_token_and_strangers_at_the_port_of_the_peers_are_told() {
    const TOKEN: &str = "5b1f0d2c9a8e4f63b7d1c0a2e4f68b90";
    let scratch = Scratch::new();
    let file = scratch.path().join("token");
    fs::write(&file, TOKEN).expect("written");
    let builder = Cluster::builder().nodes(1).unmetered().set("admin.require_token", "true");
    let cluster = builder.set("admin.token_file", &file.display().to_string()).start_only(&[1]).await;
    let admin = cluster.admin(1);
    eventually(READY, "it is ready", async || {
        (admin.get("/readyz").attempt().await.ok()?.status == 200).then_some(())
    })
    .await;
    admin.get("/cluster/status").send().await.refused(401, "unauthorized");
    let told = event(&admin, Some(TOKEN), "refused_admin_calls", None).await;
    assert_eq!((&told["first"][0]["from"], &told["node"]), (&json!("127.0.0.1"), &json!(1)));
    let peer = cluster.installation(1).advertise.to_string();
    let mut stranger = TcpStream::connect(peer).await.expect("it listens");
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").await.expect("it takes that");
    let told = event(&admin, Some(TOKEN), "refused_peers", Some("garbage")).await;
    assert!(told["count"].as_u64() >= Some(1), "{told}");
}

#[tokio::test]
async fn what_is_refused_without_a_leader_is_refused_all_the_same_and_counted() {
    let issuer = Issuer::new();
    let mut cluster = issuer.guard(Cluster::builder().unmetered()).start().await;
    let (api, admin) = (cluster.api(1), cluster.admin(1));
    cluster.kill(2).await;
    cluster.kill(3).await;
    let dropped = eventually(READY, "what is refused is counted", async || {
        api.get("/api/v1/ice")
            .header("authorization", "Bearer x.y.z")
            .send()
            .await
            .refused(401, "unauthorized");
        let metrics = admin.get("/metrics").send().await.text();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("conclave_security_events_dropped_total "));
        line.and_then(|count| count.parse::<f64>().ok()).filter(|count| *count > 0.0)
    })
    .await;
    assert!(dropped >= 1.0);
    cluster.restart(2);
    cluster.restart(3);
    cluster.wait_ready().await;
    api.get("/api/v1/ice").header("authorization", "Bearer x.y.z").send().await.refused(401, "unauthorized");
    assert_eq!(cluster.admin(2).get("/admin/v1/audit").send().await.ok()["entries"], json!([]));
}
