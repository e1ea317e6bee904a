//! The admin listener over TLS, and who may call it by a certificate.

use std::path::PathBuf;

use conclave_tests::authority::Authority;
use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::wait::eventually;

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

/// What the command line says to a node over TLS.
async fn status(cluster: &Cluster, url: &str, more: &[&str]) -> (Option<i32>, String) {
    cluster.command(&[&["cluster", "status", "--url", url, "--timeout", "5s"], more].concat()).await
}

#[tokio::test]
async fn whoever_has_a_certificate_of_the_authority_needs_no_token_and_nobody_else_gets_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let builder = authority.control(Cluster::builder().nodes(1).unmetered());
    let cluster = builder.start_only(&[1]).await;
    let url = cluster.node(1).admin.to_string().replace("http://", "https://");
    let (cert, key) = authority.identity("operator");
    let (ca, cert, key) = (text(authority.authority_file()), text(cert), text(key));
    let own = ["--ca", &ca, "--cert", &cert, "--key", &key];
    eventually(READY, "the operator gets in", async || {
        let (code, said) = status(&cluster, &url, &own).await;
        (code == Some(0) && said.contains("leader 1")).then_some(())
    })
    .await;
    // Without a certificate, with a stranger's, and to a server that a stranger signed for.
    let (code, said) = status(&cluster, &url, &own[..2]).await;
    assert!(code == Some(1) && said.contains("--cert, --key"), "{code:?} {said}");
    let (theirs, their_key) = stranger.identity("operator");
    let (theirs, their_key) = (text(theirs), text(their_key));
    let (code, said) = status(&cluster, &url, &["--ca", &ca, "--cert", &theirs, "--key", &their_key]).await;
    assert!(code == Some(1) && said.contains("admin.tls.client_ca"), "{code:?} {said}");
    let other = text(stranger.authority_file());
    let (code, said) = status(&cluster, &url, &["--ca", &other, "--cert", &cert, "--key", &key]).await;
    assert!(code == Some(1) && said.contains("TLS with"), "{code:?} {said}");
    // In the clear there is nothing but that.
    let plain = url.replace("https://", "http://");
    let (code, said) = status(&cluster, &plain, &[]).await;
    assert!(code == Some(2) && said.contains("https:// in place of http://"), "{code:?} {said}");
    // Files that are none are named.
    let (code, said) = status(&cluster, &url, &["--ca", &key]).await;
    assert!(code == Some(2) && said.contains(&key) && said.contains("no certificate"), "{code:?} {said}");
    let (code, said) = status(&cluster, &url, &["--cert", &cert]).await;
    assert!(code == Some(2) && said.contains("--key"), "{code:?} {said}");
    // The URL that the node tells of itself says how it is spoken to.
    let (_, told) = status(&cluster, &url, &[&own[..], &["--json"]].concat()).await;
    assert!(told.contains(&url), "{told}");
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_with_a_token_where_it_is_asked_for() {
    let authority = Authority::new();
    let builder = authority.control(Cluster::builder().nodes(1).unmetered());
    let cluster = builder.set("admin.require_token", "true").start_only(&[1]).await;
    let url = cluster.node(1).admin.to_string().replace("http://", "https://");
    let (cert, key) = authority.identity("operator");
    let (ca, cert, key) = (text(authority.authority_file()), text(cert), text(key));
    let own = ["--ca", &ca, "--cert", &cert, "--key", &key];
    eventually(READY, "it asks for the token", async || {
        let (code, said) = status(&cluster, &url, &own).await;
        (code == Some(3) && said.contains("admin.token_file")).then_some(())
    })
    .await;
    let token = text(cluster.installation(1).data_dir.join("admin-token"));
    let both = [&own[..], &["--token-file", &token]].concat();
    let (code, said) = status(&cluster, &url, &both).await;
    assert_eq!(code, Some(0), "{said}");
    // A certificate of another name than the one that is called.
    authority.name_control("elsewhere.example");
    cluster.says(1, "read the admin certificate").await;
    eventually(READY, "the new one is used", async || {
        let (code, said) = status(&cluster, &url, &both).await;
        (code == Some(1) && said.contains("TLS with")).then_some(())
    })
    .await;
}
