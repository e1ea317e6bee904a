//! Organisations: each finds its own things and nothing of another one.

use std::collections::BTreeSet;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::{Api, Call};
use conclave_tests::issuer::{Issuer, now};
use conclave_tests::metrics::metric;
use conclave_tests::relay::{Pair, peer_id, poll, signal, with, word};
use conclave_tests::shared::limits;
use conclave_tests::socket::Socket;
use futures_util::future::join_all;
use serde_json::{Value, json};

const GRANTS: &str = "relay signal socket devices";
const ONION: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion";

/// Tokens name the organisation in `org`; whoever sends to `acme.example` is in `acme`.
async fn cluster(issuer: &Issuer) -> Cluster {
    let builder = issuer.guard(limits(Cluster::builder(), 1_000_000, "60s"));
    builder
        .set("auth.tenant_claim", "org")
        .set("tenants.hosts", "acme.example=acme,known.example=known")
        .set(
            "tenants.policies",
            "fenced: origin=https://fenced.example allowance_percent=1 ttl_seconds=40..45,known: require_approved_device",
        )
        .set("http.allowed_origins", "https://fenced.example,https://other.example")
        .env("QSAFEVAULT_EDITION", "enterprise")
        .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true")
        .start()
        .await
}

/// Somebody of an organisation.
#[derive(Clone)]
struct Member<'a> {
    api: Api,
    issuer: &'a Issuer,
    org: Option<&'static str>,
    subject: String,
}

impl Member<'_> {
    fn token(&self) -> String {
        let mut grants = json!({"scope": GRANTS, "peers": ["*"], "rooms": ["*"]});
        if let Some(org) = self.org {
            grants["org"] = org.into();
        }
        self.issuer.token(&self.subject, grants)
    }

    fn show(&self, call: Call) -> Call {
        call.header("authorization", &format!("Bearer {}", self.token()))
    }

    async fn ask(&self, call: Call) -> Value {
        self.show(call).send().await.ok()
    }

    async fn socket(&self) -> Socket {
        let bearer = format!("Bearer {}", self.token());
        Socket::try_at(&self.api, "/ws", &[("authorization", &bearer)]).await.expect("opened")
    }
}

#[tokio::test]
async fn the_same_names_are_other_things_in_each_organisation() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let subject = word("alice");
    let of = |node, org| Member { api: cluster.api(node), issuer: &issuer, org, subject: subject.clone() };
    let all = [of(1, None), of(2, Some("acme")), of(3, Some("other"))];

    let (pair, peer, room) = (Pair::fresh(), peer_id(), word("room"));
    let (code, pin, user) = (word("code").replace('-', "")[..12].to_owned(), word("pin"), subject.clone());
    let mut ids = Vec::new();
    for (n, member) in all.iter().enumerate() {
        // Each finds nothing of those before it.
        assert_eq!(member.ask(member.api.relay(&pair.receive())).await["status"], "expired", "{n}");
        assert_eq!(member.ask(member.api.relay(&poll(&peer))).await["messages"], json!([]));
        let lookup = member.api.relay(&json!({"action": "lookup", "inviteCode": code}));
        member.show(lookup).send().await.refused(404, "peer_not_found");
        let resolve = member.api.get(&format!("/api/v1/sessions/resolve?pin={pin}"));
        member.show(resolve).send().await.refused(404, "pin_not_found");
        let devices = member.ask(member.api.get(&format!("/api/v1/devices/{user}"))).await;
        assert_eq!(devices["devices"], json!([]));

        member.ask(member.api.relay(&pair.send(0, 1, "AAEC"))).await;
        let sent = signal(&peer_id(), &peer, "offer", json!({ "n": n }));
        member.ask(member.api.relay(&sent)).await;
        let register = json!({"action": "register", "inviteCode": code, "peerId": format!("peer-{n}")});
        member.ask(member.api.relay(&register)).await;
        let session = member.ask(member.api.post("/api/v1/sessions", &json!({"pin": pin}))).await;
        ids.push(session["sessionId"].as_str().expect("an id").to_owned());
        let device = json!({"userId": user, "deviceId": format!("d-{n}"), "onion": ONION});
        member.ask(member.api.post("/api/v1/devices", &device)).await;
    }
    for (n, member) in all.iter().enumerate() {
        let lookup = member.api.relay(&json!({"action": "lookup", "inviteCode": code}));
        assert_eq!(member.ask(lookup).await["peerId"], format!("peer-{n}"));
        assert_eq!(
            member.ask(member.api.relay(&poll(&peer))).await["messages"][0]["payload"],
            json!({ "n": n })
        );
        let resolved = member.ask(member.api.get(&format!("/api/v1/sessions/resolve?pin={pin}"))).await;
        assert_eq!(resolved["sessionId"], ids[n]);
        // The id of another organisation's session is as that of none.
        let foreign = &ids[(n + 1) % ids.len()];
        let gone = member.show(member.api.delete(&format!("/api/v1/sessions/{foreign}"))).send().await;
        let never = format!("/api/v1/sessions/{}", uuid::Uuid::new_v4());
        let absent = member.show(member.api.delete(&never)).send().await;
        assert_eq!(
            (gone.status, gone.json()["error"].clone()),
            (absent.status, absent.json()["error"].clone())
        );
        assert_eq!(member.ask(member.api.relay(&pair.receive())).await["chunk"]["data"], "AAEC");
    }
    // A room of the same name is another one.
    let mut sockets = Vec::new();
    for member in &all {
        let mut socket = member.socket().await;
        socket.ok(json!({"op": "join", "room": room})).await;
        sockets.push(socket);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.ok(json!({"op": "publish", "data": n})).await;
        let members = socket.ok(json!({"op": "members"})).await;
        assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
    }
    let transfers = cluster.admin(1).get("/admin/v1/transfers").send().await.ok();
    let ids: BTreeSet<_> =
        transfers["items"].as_array().expect("a list").iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    // An operator says whose `alice` is meant.
    let ends = async |query: &str| {
        let path = format!("/admin/v1/sockets?subject={subject}{query}");
        let listed = cluster.admin(1).get(&path).send().await.ok();
        let ended = cluster.admin(1).delete(&path).send().await.ok();
        (listed["items"].as_array().map(Vec::len), ended["ended"].as_u64())
    };
    assert_eq!(ends("&tenant=nobody").await, (Some(0), Some(0)));
    assert_eq!(ends("&tenant=acme").await, (Some(1), Some(1)));
    sockets[0].ok(json!({"op": "ping"})).await;
    assert_eq!(ends("").await, (Some(1), Some(1)));
    sockets[2].ok(json!({"op": "ping"})).await;
}

#[tokio::test]
async fn a_host_means_its_organisation_and_tokens_of_others_have_no_business_there() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.api(2);
    let member = |org| Member { api: node.clone(), issuer: &issuer, org, subject: word("bob") };
    let (nobody, acme, other) = (member(None), member(Some("acme")), member(Some("other")));
    let pair = Pair::fresh();
    acme.ask(node.relay(&pair.send(0, 1, "AAEC"))).await;
    let there = || node.relay(&pair.receive()).header("host", "acme.example");
    other.show(there()).send().await.refused(403, "forbidden");
    nobody.show(there()).send().await.refused(403, "forbidden");
    assert_eq!(acme.ask(there()).await["chunk"]["data"], "AAEC");
    // What is no name of an organisation is no token.
    for wrong in [json!("Acme"), json!(7), json!("a/b"), json!("")] {
        let token = issuer.token("eve", json!({"scope": GRANTS, "org": wrong}));
        let call = node.relay(&pair.receive()).header("authorization", &format!("Bearer {token}"));
        call.send().await.refused(401, "unauthorized");
    }
    let control = issuer.token("acme\nbob", json!({"scope": GRANTS}));
    let call = node.relay(&pair.receive()).header("authorization", &format!("Bearer {control}"));
    call.send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_token_of_no_organisation_has_no_business_in_one() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.api(1);
    let nobodys = Member { api: node.clone(), issuer: &issuer, org: None, subject: word("dora") };
    for host in ["known.example", "acme.example"] {
        nobodys
            .show(node.relay(&poll(&peer_id())).header("host", host))
            .send()
            .await
            .refused(403, "forbidden");
    }
    nobodys.ask(node.relay(&poll(&peer_id()))).await;
    // Whose devices are let in is asked of its own.
    let known = Member { org: Some("known"), ..nobodys.clone() };
    let call = known.show(node.relay(&poll(&peer_id())).header("host", "known.example"));
    call.send().await.refused(403, "device_not_approved");
}

#[tokio::test]
async fn a_guest_has_one_share_whichever_organisations_it_asks_in() {
    let hosts = "a.example=a,b.example=b,c.example=c";
    let cluster = limits(Cluster::builder(), 1_000_000, "60s")
        .set("tenants.hosts", hosts)
        .set("storage.bytes_max", "1GiB")
        .set("shares.client_percent", "10")
        .set("limits.waits_max", "100")
        .start()
        .await;
    let node = cluster.api(1);
    let chunk = "A".repeat(43_000);
    let mut stored = 0;
    let refused = 'full: loop {
        for host in ["a.example", "b.example", "c.example"] {
            let pair = Pair::fresh();
            for index in 0..100 {
                let sent = node.relay(&pair.send(index, 100, &chunk)).header("host", host).send().await;
                if sent.status != 200 {
                    break 'full sent;
                }
                stored += 1;
            }
        }
    };
    refused.refused(507, "storage_full");
    assert!(
        (2_000..3_500).contains(&stored),
        "{stored} chunks: a tenth of the store, not of each organisation"
    );
    let waits = join_all((0..60).map(async |n: usize| {
        let host = ["a.example", "b.example", "c.example"][n % 3];
        let wish = with(&poll(&peer_id()), "waitMs", Some(json!(500)));
        node.relay(&wish).header("host", host).once().await.status
    }))
    .await;
    assert!(waits.contains(&429), "not twenty in each of them: {waits:?}");
}

#[tokio::test]
async fn a_policy_bounds_what_an_organisation_may() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.api(1);
    let fenced = Member { api: node.clone(), issuer: &issuer, org: Some("fenced"), subject: word("carol") };
    let from = |origin: &str| node.relay(&poll(&peer_id())).header("origin", origin);
    fenced.ask(from("https://fenced.example")).await;
    fenced.show(from("https://other.example")).send().await.refused(403, "origin_not_allowed");
    let other = Member { api: node.clone(), issuer: &issuer, org: Some("other"), subject: word("carol") };
    other.ask(from("https://other.example")).await;
    for (member, limit) in [(&fenced, "10000"), (&other, "1000000")] {
        let told = member.show(node.relay(&poll(&peer_id()))).send().await;
        assert_eq!(told.header("x-ratelimit-limit"), Some(limit));
        assert_eq!(told.header("ratelimit-policy"), Some(&*format!("\"poll\";q={limit};w=60")));
    }
}

#[tokio::test]
async fn a_page_of_elsewhere_shows_no_token_of_an_organisation_over_a_socket_that_it_opened_without() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.api(1);
    let fenced = Member { api: node.clone(), issuer: &issuer, org: Some("fenced"), subject: word("carol") };
    let bearer = format!("Bearer {}", Member { org: None, ..fenced.clone() }.token());
    let open = async |origin: &str| {
        let headers = [("authorization", &*bearer), ("origin", origin)];
        Socket::try_at(&node, "/ws", &headers).await.expect("opened")
    };
    let hello = json!({"op": "hello", "token": fenced.token()});
    let mut foreign = open("https://other.example").await;
    foreign.refused(hello.clone(), "origin_not_allowed").await;
    // It is still who it was.
    foreign.ok(json!({"op": "hello"})).await;
    open("https://fenced.example").await.ok(hello).await;
}

#[tokio::test]
async fn what_an_organisation_stores_lives_as_long_as_its_policy_says() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let node = cluster.api(1);
    let lives = async |org| {
        let member = Member { api: node.clone(), issuer: &issuer, org, subject: word("carol") };
        let session = member.ask(node.post("/api/v1/sessions", &json!({}))).await;
        let transfer = member.show(node.post("/api/v1/transfers", &Pair::fresh().open(1)));
        let transfer = transfer.send().await.status(201);
        let code = &word("code").replace('-', "")[..12];
        let register = json!({"action": "register", "inviteCode": code, "peerId": peer_id()});
        let registered = member.ask(node.relay(&register)).await;
        let device = json!({"userId": member.subject, "deviceId": "phone", "onion": ONION, "ttlSec": 3600});
        member.ask(node.post("/api/v1/devices", &device)).await;
        let devices = member.ask(node.get(&format!("/api/v1/devices/{}", member.subject))).await;
        let expires = devices["devices"][0]["expires"].as_u64().expect("a time");
        let device = expires.saturating_sub(now() * 1000).div_ceil(1000);
        let ttls = [&session, &transfer, &registered].map(|told| told["ttlSec"].as_u64().expect("a time"));
        (ttls, device)
    };
    let (stored, device) = lives(Some("fenced")).await;
    assert!(stored.iter().all(|ttl| (40..=45).contains(ttl)), "{stored:?}");
    assert!((1..=46).contains(&device), "{device}");
    let (stored, device) = lives(Some("other")).await;
    assert!(stored.iter().all(|ttl| !(40..=45).contains(ttl)) && device > 3_500, "{stored:?} {device}");
}

#[tokio::test]
async fn one_organisation_that_fills_its_share_leaves_the_others_theirs() {
    let issuer = Issuer::new();
    let builder = issuer.guard(limits(Cluster::builder(), 1_000_000, "60s"));
    let cluster = builder
        .set("auth.tenant_claim", "org")
        .set("storage.bytes_max", "1GiB")
        .set("shares.client_percent", "100")
        .set("shares.network_percent", "100")
        .set("tenants.policies", "greedy: storage_percent=10")
        .start()
        .await;
    let node = cluster.api(1);
    let member =
        |org, n: usize| Member { api: node.clone(), issuer: &issuer, org, subject: format!("s-{n}") };
    // Each subject by itself stays far below what one client may hold.
    let chunk = "A".repeat(43_000);
    let begun = member(Some("greedy"), 0);
    let opened = begun.show(node.post("/api/v1/transfers", &Pair::fresh().open(1))).send().await.json();
    let first = format!("/api/v1/transfers/{}", opened["transferId"].as_str().expect("an id"));
    let put = node.put(&format!("{first}/chunks/0"), vec![7; 43_000]);
    assert_eq!(begun.show(put).send().await.status, 201);
    let (mut stored, mut refused) = (0, None);
    for n in 0..40 {
        let greedy = member(Some("greedy"), n);
        let pair = Pair::fresh();
        for index in 0..100 {
            let reply = greedy.show(node.relay(&pair.send(index, 100, &chunk))).send().await;
            if reply.status != 200 {
                refused = Some(reply);
                break;
            }
            stored += 1;
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a tenth of the store is full before 4,000 chunks are in it");
    refused.refused(507, "tenant_storage_full");
    assert!(stored > 2000, "{stored}");
    // Once a node has heard of it, further refusals do not go through the log.
    let refuse = async |id| {
        let refused =
            member(Some("greedy"), 99).show(cluster.api(id).relay(&Pair::fresh().send(0, 1, &chunk)));
        refused.send().await.refused(507, "tenant_storage_full");
    };
    join_all([1, 2, 3].map(refuse)).await;
    let (admin, log) = (cluster.admin(1), "conclave_raft_log_bytes");
    let before = metric(&admin, log).await;
    join_all((0..90).map(|n| refuse(1 + n % 3))).await;
    let grown = metric(&admin, log).await - before;
    assert!(grown < 1_000_000.0, "90 refusals of 32 KiB left {grown} bytes in the log");
    // What is let go at one node makes room at the others at once.
    begun.show(node.delete(&first)).send().await.status(200);
    begun.ask(cluster.api(2).relay(&Pair::fresh().send(0, 1, &chunk))).await;
    let signal = signal(&peer_id(), &peer_id(), "offer", json!({"n": 1}));
    for org in [Some("modest"), None] {
        let other = member(org, 0);
        other.ask(node.relay(&Pair::fresh().send(0, 1, &chunk))).await;
        other.ask(node.relay(&signal)).await;
    }
}

#[tokio::test]
async fn an_operator_sees_what_each_organisation_may_have_and_holds() {
    let issuer = Issuer::new();
    let cluster = cluster(&issuer).await;
    let admin = cluster.admin(2);
    let listed = async |query: &str| {
        let told = admin.get(&format!("/admin/v1/tenants{query}")).send().await.ok();
        told["tenants"].as_array().expect("a list").clone()
    };
    let stored = |tenant: &Value, what: &str| -> u64 {
        let cells = tenant["cells"].as_array().expect("a list");
        cells.iter().map(|cell| cell[what].as_u64().expect("a number")).sum()
    };
    let before = listed("").await;
    let names: Vec<_> = before.iter().map(|it| it["tenant"].as_str().expect("a name")).collect();
    assert_eq!(names, ["acme", "fenced", "known"]);
    assert_eq!(before[0]["hosts"], json!(["acme.example"]));
    assert_eq!(
        (&before[1]["allowancePercent"], &before[1]["ttlSeconds"]),
        (&json!(1), &json!({"from": 40, "to": 45}))
    );
    assert_eq!(before[1]["origins"], json!(["https://fenced.example"]));
    assert!(before[2]["requireApprovedDevice"] == true && before[0]["requireApprovedDevice"] == false);
    assert!(before.iter().all(|it| stored(it, "storedBytes") == 0), "{before:?}");
    // Only its tokens name this one.
    let node = cluster.api(1);
    let other = Member { api: node.clone(), issuer: &issuer, org: Some("other"), subject: word("carol") };
    for _ in 0..3 {
        other.ask(node.relay(&signal("somebody", &peer_id(), "offer", json!("x")))).await;
    }
    let [other] = &listed("?tenant=other").await[..] else { panic!("one is told") };
    assert_eq!((stored(other, "mailboxes"), &other["hosts"]), (3, &json!([])));
    assert!(stored(other, "storedBytes") > 0 && listed("").await == before);
    let (code, said) =
        cluster.command(&["tenants", "acme", "--url", &cluster.node(2).admin.to_string()]).await;
    let said = said.trim_end();
    assert!(code == Some(0) && said.starts_with("acme  0B ") && said.ends_with("at acme.example"), "{said}");
    admin.get("/admin/v1/tenants?tenant=A").send().await.refused(400, "invalid_input");
    admin.get("/admin/v1/tenants?name=acme").send().await.refused(400, "invalid_query");
}
