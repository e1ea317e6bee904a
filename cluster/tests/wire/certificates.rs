//! Mutual TLS: who gets in and who does not.

use std::path::Path;
use std::time::SystemTime;

use conclave_cluster::wire::{Error, Lane, Options, Reason, Secrets, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::logs::Logs;
use crate::support::{Node, echo, large, options, request, until};

/// An authority, with a folder for its files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate of this name, trusting the authority in `trusted`.
    fn tls(&self, name: &str, expired: bool, trusted: &Path) -> Tls {
        self.signed(name, trusted, |params| {
            if expired {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
        })
    }

    fn signed(&self, name: &str, trusted: &Path, change: impl FnOnce(&mut CertificateParams)) -> Tls {
        self.write(name, change);
        Tls::from_files(trusted, &self.folder.path().join("node.pem"), &self.folder.path().join("node.key"))
            .unwrap()
    }

    /// Puts a certificate of this name into the files.
    fn write(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.path().join("node.pem"), certificate.pem()).unwrap();
        std::fs::write(self.folder.path().join("node.key"), key.serialize_pem()).unwrap();
    }

    fn node(&self, id: u64) -> Options {
        Options {
            tls: Some(self.tls(&format!("node-{id}.blue.conclave"), false, &self.file())),
            ..options(id)
        }
    }
}

/// A good node, and what comes of a call to it from one with these options. It must be logged once.
async fn refused_by_the_good(authority: &Authority, bad: Options) -> Error {
    let (logs, _guard) = Logs::listen();
    let good = Node::start(authority.node(1), echo()).await;
    let bad = Node::start(bad, echo()).await;
    let error = bad.call(&good, Lane::Control, request(1)).await.unwrap_err();
    for _ in 0..3 {
        assert!(bad.call(&good, Lane::Control, request(1)).await.is_err());
    }
    until(async || logs.count("peer connection refused") > 0).await;
    assert_eq!(logs.count("peer connection refused"), 1);
    error
}

#[tokio::test]
async fn nodes_with_certificates_of_their_authority_meet() {
    let authority = Authority::new();
    let one = Node::start(authority.node(1), echo()).await;
    let two = Node::start(authority.node(2), echo()).await;
    for (caller, other) in [(&one, &two), (&two, &one)] {
        let asked = large(3, 3_000_000);
        let sent = asked.payload[0].clone();
        assert!(caller.call(other, Lane::Bulk, asked).await.unwrap().payload == sent);
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    // It trusts ours, so that only its own certificate is wrong.
    let tls = theirs.tls("node-2.blue.conclave", false, &ours.file());
    let error = refused_by_the_good(&ours, Options { tls: Some(tls), ..options(2) }).await;
    assert_eq!(error, Error::Refused(Reason::Certificate));
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let tls = authority.tls("node-2.blue.conclave", true, &authority.file());
    let error = refused_by_the_good(&authority, Options { tls: Some(tls), ..options(2) }).await;
    assert_eq!(error, Error::Refused(Reason::Certificate));
}

#[tokio::test]
async fn the_certificate_of_another_node_is_refused() {
    let authority = Authority::new();
    let tls = authority.tls("node-3.blue.conclave", false, &authority.file());
    let error = refused_by_the_good(&authority, Options { tls: Some(tls), ..options(2) }).await;
    assert_eq!(error, Error::Refused(Reason::Certificate));
}

#[tokio::test]
async fn the_certificate_of_another_cluster_is_refused() {
    let authority = Authority::new();
    for name in ["node-2.red.conclave", "node-2.conclave", "node-2.blue.red.conclave", "node-2.blue"] {
        let tls = authority.tls(name, false, &authority.file());
        let error = refused_by_the_good(&authority, Options { tls: Some(tls), ..options(2) }).await;
        assert_eq!(error, Error::Refused(Reason::Certificate), "{name}");
    }
}

#[tokio::test]
async fn a_cluster_without_a_name_of_its_own_takes_the_short_name_too() {
    let authority = Authority::new();
    let node = async |id: u64, name: &str| {
        let tls = Some(authority.tls(name, false, &authority.file()));
        Node::start(Options { tls, ..Options::new(id, "conclave", id) }, echo()).await
    };
    let one = node(1, "node-1.conclave").await;
    let two = node(2, "node-2.conclave.conclave").await;
    for (caller, other) in [(&one, &two), (&two, &one)] {
        caller.call(other, Lane::Control, request(1)).await.unwrap();
    }
    let three = node(3, "node-2.conclave").await;
    let refused = Err(Error::Refused(Reason::Certificate));
    assert_eq!(three.call(&one, Lane::Control, request(1)).await, refused);
    assert_eq!(one.call(&three, Lane::Control, request(1)).await, refused);
}

#[tokio::test]
async fn a_certificate_does_not_stand_in_for_the_secret() {
    let authority = Authority::new();
    let with = |id: u64, text: Option<&str>| {
        let secrets = text.map(|text| Secrets::from_text(text).unwrap());
        Options { secrets, ..authority.node(id) }
    };
    let secret = "0123456789abcdef0123456789abcdef";
    let one = Node::start(with(1, Some(secret)), echo()).await;
    let two = Node::start(with(2, Some(secret)), echo()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
    let without = Node::start(with(3, None), echo()).await;
    let refused = Err(Error::Refused(Reason::Secret));
    assert_eq!(without.call(&one, Lane::Control, request(1)).await, refused);
}

#[tokio::test]
async fn the_certificate_of_a_client_is_refused() {
    let authority = Authority::new();
    let tls = authority.tls("alice.example.org", false, &authority.file());
    let error = refused_by_the_good(&authority, Options { tls: Some(tls), ..options(2) }).await;
    assert_eq!(error, Error::Refused(Reason::Certificate));
}

#[tokio::test]
async fn a_dialer_without_tls_is_refused() {
    let authority = Authority::new();
    let error = refused_by_the_good(&authority, options(2)).await;
    assert_ne!(error, Error::TimedOut);
}

#[tokio::test]
async fn garbage_before_tls_is_refused_and_logged_once() {
    let (logs, _guard) = Logs::listen();
    let authority = Authority::new();
    let node = Node::start(authority.node(1), echo()).await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        stream.write_all(&[0xff; 64]).await.unwrap();
    }
    until(async || logs.count("not a greeting") == 1).await;
    let friend = Node::start(authority.node(2), echo()).await;
    friend.call(&node, Lane::Control, request(1)).await.unwrap();
    assert_eq!(logs.count("not a greeting"), 1);
}

/// The other way round: the good node dials, the one it reaches is not what it should be.
async fn refused_by_the_dialer(authority: &Authority, bad: Options) -> Error {
    let (logs, _guard) = Logs::listen();
    let good = Node::start(authority.node(1), echo()).await;
    let bad = Node::start(bad, echo()).await;
    let error = good.call(&bad, Lane::Control, request(1)).await.unwrap_err();
    for _ in 0..3 {
        assert!(good.call(&bad, Lane::Control, request(1)).await.is_err());
    }
    assert!(logs.count("peer link refused") <= 1);
    error
}

#[tokio::test]
async fn a_dialer_does_not_speak_with_an_impostor() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let impostors = [
        theirs.tls("node-2.blue.conclave", false, &ours.file()),
        ours.tls("node-2.blue.conclave", true, &ours.file()),
        ours.tls("node-3.blue.conclave", false, &ours.file()),
        ours.tls("node-2.red.conclave", false, &ours.file()),
        ours.tls("node-2.conclave", false, &ours.file()),
    ];
    for tls in impostors {
        let error = refused_by_the_dialer(&ours, Options { tls: Some(tls), ..options(2) }).await;
        assert_eq!(error, Error::Refused(Reason::Certificate));
    }
}

#[tokio::test]
async fn a_dialer_with_tls_does_not_fall_back_to_none() {
    let authority = Authority::new();
    let error = refused_by_the_dialer(&authority, options(2)).await;
    assert!(matches!(error, Error::Refused(_) | Error::Unreachable), "{error:?}");
}

/// Each certificate with which node 2 of cluster blue is refused, what the other side says of it, and what node 2 hears.
fn refused(ours: &Authority, theirs: &Authority) -> [(Tls, &'static str, &'static str); 4] {
    let name = "node-2.blue.conclave";
    let early = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2900, 1, 1), date_time_ymd(2901, 1, 1));
    };
    [
        (
            ours.tls(name, true, &ours.file()),
            "the certificate expired at 2020-01-01 00:00:00 UTC",
            "the peer refuses this node's: expired or not valid yet",
        ),
        (
            ours.signed(name, &ours.file(), early),
            "the certificate is not valid before 2900-01-01 00:00:00 UTC",
            "the peer refuses this node's: expired or not valid yet",
        ),
        (
            theirs.tls(name, false, &ours.file()),
            "unknown issuer: no authority in cluster.tls.ca signed the certificate",
            "the peer refuses this node's: unknown issuer",
        ),
        (
            ours.tls("node-3.blue.conclave", false, &ours.file()),
            "node-3.blue.conclave",
            "the peer refuses this node's: it does not carry this node's name",
        ),
    ]
}

#[tokio::test]
async fn both_sides_say_what_is_wrong_with_a_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (tls, wrong, heard) in refused(&ours, &theirs) {
        let (logs, _guard) = Logs::listen();
        let good = Node::start(ours.node(1), echo()).await;
        let bad = Node::start(Options { tls: Some(tls), ..options(2) }, echo()).await;
        for (dialer, accepts, at_dialer, at_acceptor) in
            [(&bad, &good, heard, wrong), (&good, &bad, wrong, heard)]
        {
            assert!(dialer.call(accepts, Lane::Control, request(1)).await.is_err());
            let fault = dialer.links.peers()[0].fault.clone().unwrap();
            assert!(fault.contains(at_dialer), "{at_dialer} is missing in {fault}");
            for (line, words) in [("peer link refused", at_dialer), ("peer connection refused", at_acceptor)]
            {
                until(async || logs.count_both(line, words) == 1).await;
            }
        }
    }
}

#[test]
fn a_certificate_that_peers_would_refuse_is_found_before_any_is_dialed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let now = SystemTime::now();
    ours.tls("node-2.blue.conclave", false, &ours.file()).check("blue", 2, now).unwrap();
    ours.tls("node-2.conclave", false, &ours.file()).check("conclave", 2, now).unwrap();
    let one_way = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let one_way = ours.signed("node-2.blue.conclave", &ours.file(), one_way);
    let all = refused(&ours, &theirs).into_iter().map(|(tls, wrong, _)| (tls, wrong));
    for (tls, wrong) in all.chain([(one_way, "extended key usage")]) {
        let error = tls.check("blue", 2, now).unwrap_err().to_string();
        assert!(error.starts_with("cluster.tls.cert: /") && error.contains("node.pem: "), "{error}");
        assert!(error.contains(wrong), "{wrong} is missing in {error}");
    }
}

#[tokio::test]
async fn files_are_read_again_for_connections_to_come_unless_they_cannot_be_used() {
    let (ours, now) = (Authority::new(), SystemTime::now());
    let one = Node::start(ours.node(1), echo()).await;
    let tls = ours.tls("node-2.blue.conclave", true, &ours.file());
    let two = Node::start(Options { tls: Some(tls.clone()), ..options(2) }, echo()).await;
    assert!(two.call(&one, Lane::Control, request(1)).await.is_err());

    ours.write("node-3.blue.conclave", |_| {});
    tls.reload("blue", 2, now).unwrap_err();
    assert_eq!(tls.validity().until().to_string(), "2020-01-01 00:00:00 UTC", "it stays as it was");
    ours.write("node-2.blue.conclave", |_| {});
    tls.reload("blue", 2, now).unwrap();
    until(async || two.call(&one, Lane::Control, request(1)).await.is_ok()).await;
    one.call(&two, Lane::Control, request(1)).await.unwrap();
}

#[test]
fn files_that_are_no_certificates_are_an_error_that_names_key_and_file() {
    let authority = Authority::new();
    authority.write("node-2.blue.conclave", |_| {});
    let file = |name: &str| authority.folder.path().join(name);
    std::fs::write(file("empty"), "nothing").unwrap();
    let other = Authority::new();
    other.write("node-2.blue.conclave", |_| {});
    let (ca, cert, key) = (file("authority.pem"), file("node.pem"), file("node.key"));
    let (empty, absent, another) = (file("empty"), file("absent"), other.folder.path().join("node.key"));
    for (files, named, at) in [
        ([&empty, &cert, &key], "cluster.tls.ca: ", &empty),
        ([&absent, &cert, &key], "cluster.tls.ca: ", &absent),
        ([&ca, &empty, &key], "cluster.tls.cert: ", &empty),
        ([&ca, &absent, &key], "cluster.tls.cert: ", &absent),
        ([&ca, &cert, &empty], "cluster.tls.key: ", &empty),
        ([&ca, &cert, &absent], "cluster.tls.key: ", &absent),
        ([&ca, &cert, &another], "cluster.tls.key: ", &another),
    ] {
        let error = Tls::from_files(files[0], files[1], files[2]).unwrap_err().to_string();
        assert!(error.contains(&format!("{named}{}", at.display())), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over_and_an_encrypted_key_is_said_to_be_one() {
    let authority = Authority::new();
    authority.write("node-2.blue.conclave", |_| {});
    let files = ["authority.pem", "node.pem", "node.key"].map(|name| authority.folder.path().join(name));
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("\u{feff}{text}")).unwrap();
    }
    let read = || Tls::from_files(&files[0], &files[1], &files[2]);
    read().unwrap();
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&files[2], pem).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(
        error.starts_with("cluster.tls.key: ") && error.contains("the private key is encrypted"),
        "{error}"
    );
}
