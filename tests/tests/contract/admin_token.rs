//! The token of the admin listener.

use std::fs;

use conclave_tests::cluster::Cluster;
use conclave_tests::http::Api;
use conclave_tests::scratch::Scratch;

const TOKEN: &str = "5b1f0d2c9a8e4f63b7d1c0a2e4f68b90";

async fn guarded(scratch: &Scratch) -> Cluster {
    let file = scratch.path().join("token");
    fs::write(&file, TOKEN).expect("written");
    let file = file.display().to_string();
    let builder = Cluster::builder().nodes(1).unmetered().set("admin.require_token", "true");
    builder.set("admin.token_file", &file).start_only(&[1]).await
}

async fn ready(admin: &Api) {
    conclave_tests::wait::eventually(conclave_tests::cluster::READY, "it is ready", async || {
        let ready = admin.get("/readyz").attempt().await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_its_token_the_admin_listener_tells_health_alone() {
    let scratch = Scratch::new();
    let cluster = guarded(&scratch).await;
    let admin = cluster.admin(1);
    ready(&admin).await;
    for path in
        ["/cluster/status", "/metrics", "/sockets", "/admin/v1/audit", "/admin/v1/transfers", "/nothing"]
    {
        admin.get(path).send().await.refused(401, "unauthorized");
        admin.get(path).header("authorization", "Bearer wrong").send().await.refused(401, "unauthorized");
        admin.get(path).header("authorization", TOKEN).send().await.refused(401, "unauthorized");
        let told = admin.get(path).header("authorization", &format!("Bearer {TOKEN}")).send().await;
        assert_eq!(told.status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    let refused = admin.get("/cluster/status").send().await;
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    admin.delete("/cluster/members/9").send().await.refused(401, "unauthorized");
    let call = admin.delete("/cluster/members/9").header("authorization", &format!("Bearer {TOKEN}"));
    call.send().await.refused(404, "unknown_node");
    assert_eq!(admin.get("/livez").send().await.status, 200);
}

#[tokio::test]
async fn the_command_line_shows_the_token_of_a_file() {
    let scratch = Scratch::new();
    let cluster = guarded(&scratch).await;
    ready(&cluster.admin(1)).await;
    let url = cluster.node(1).admin.to_string();
    let file = scratch.path().join("token").display().to_string();
    let (code, said) = cluster.command(&["cluster", "status", "--url", &url]).await;
    assert!(code == Some(3) && said.contains("admin.token_file"), "{code:?} {said}");
    let (code, said) = cluster.command(&["cluster", "status", "--url", &url, "--token-file", &file]).await;
    assert!(code == Some(0) && said.contains("leader 1"), "{code:?} {said}");
    let (code, said) = cluster.command(&["list", "rooms", "--url", &url, "--token-file", "/nowhere"]).await;
    assert!(code == Some(2) && said.contains("/nowhere"), "{code:?} {said}");
}
