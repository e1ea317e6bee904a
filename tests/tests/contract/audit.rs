//! The audit log: what the admin API was asked to change.

use std::fs;

use conclave_tests::cluster::Cluster;
use conclave_tests::relay::word;
use conclave_tests::scratch::Scratch;
use serde_json::{Value, json};

const REVOCATIONS: &str = "/admin/v1/revocations";

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
    // What only reads, or is wrong, is not written down.
    cluster.admin(1).get(REVOCATIONS).send().await.ok();
    cluster.admin(1).post(REVOCATIONS, &json!({"whose": {}})).send().await.refused(400, "invalid_input");

    let asked = |call: &str| (call.to_owned(), "asked".to_owned());
    let expected = [
        asked("POST /admin/v1/revocations"),
        asked("POST /admin/v1/revocations/lift"),
        asked("DELETE /cluster/members/9"),
        ("DELETE /cluster/members/9".to_owned(), "unknown_node".to_owned()),
    ];
    for node in 1..=3 {
        let page = cluster.admin(node).get("/admin/v1/audit").send().await.ok();
        assert_eq!(told(&page), expected);
        assert_eq!(page["head"]["seq"], 4);
        assert_eq!(page["head"]["hash"], page["entries"][3]["hash"]);
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
    let verify = async |lines: &[&str]| {
        let path = scratch.path().join("audit.jsonl");
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("written");
        cluster.command(&["audit", "--verify", &path.display().to_string(), "--url", &url]).await
    };
    assert_eq!(verify(&whole).await, (Some(0), "5 entries, whole and in order\n".to_owned()));
    let changed = whole[2].replace("revocations", "revocationz");
    for (wrong, why) in [
        (&[whole[0], whole[1], &changed, whole[3], whole[4]][..], "entry 3 was changed"),
        (&[whole[0], whole[2], whole[3], whole[4]][..], "entry 3 follows entry 1"),
        (&whole[..4], "it ends with entry 4"),
    ] {
        let (code, said) = verify(wrong).await;
        assert!(code == Some(1) && said.contains(why), "{code:?} {said}");
    }
}
