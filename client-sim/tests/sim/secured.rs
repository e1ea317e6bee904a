//! Targets under TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stand_in::{Manner, StandIn};
use super::{run, sim};

/// TLS in front of a stand-in, and the file of the authority that its certificate is of.
struct Secured {
    stand_in: StandIn,
    address: String,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Secured {
    async fn start() -> Self {
        let stand_in = StandIn::start(1, Manner::Faultless).await;
        let behind = stand_in.targets().strip_prefix("http://").unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&authority, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    // However it ends, it is over.
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
                });
            }
        });
        Self { stand_in, address, authority, _folder: folder }
    }

    fn ca(&self) -> [String; 2] {
        ["--ca".to_owned(), self.authority.display().to_string()]
    }
}

#[tokio::test]
async fn a_load_runs_over_https_with_the_authority_of_a_file() {
    let secured = Secured::start().await;
    let target = format!("https://{}", secured.address);
    let [flag, file] = secured.ca();
    let ran = sim(&[
        "load",
        "--target",
        &target,
        &flag,
        &file,
        "--json",
        "--warmup",
        "0s",
        "--duration",
        "400ms",
        "--concurrency",
        "4",
        "--chunks",
        "8",
    ])
    .await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/bytes/verified") > 0.0, "{}", ran.report);
    assert!(secured.stand_in.state.sends.load(std::sync::atomic::Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn sockets_are_opened_over_wss() {
    let secured = Secured::start().await;
    let target = format!("wss://{}", secured.address);
    let [flag, file] = secured.ca();
    let output = run(&[
        "load",
        "--target",
        &target,
        &flag,
        &file,
        "--workload",
        "sockets",
        "--warmup",
        "0s",
        "--duration",
        "400ms",
        "--concurrency",
        "2",
        "--json",
    ])
    .await;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // The stand-in has no sockets: it answers, and that is enough to know that it was reached under TLS.
    assert!(!printed.contains("no node answers"), "{printed}");
}

#[tokio::test]
async fn a_node_whose_certificate_nobody_vouches_for_is_none() {
    let secured = Secured::start().await;
    let target = format!("https://{}", secured.address);
    let output = run(&["load", "--target", &target, "--duration", "400ms"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("no node answers at {target}")) && said.contains("--ca"), "{said}");
}

#[tokio::test]
async fn a_file_without_authorities_is_named() {
    let output = run(&["load", "--target", "https://127.0.0.1:1", "--ca", "/dev/null"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("--ca: /dev/null: "), "{said}");
}

#[tokio::test]
async fn a_reader_that_has_read_enough_is_no_failure() {
    for args in [&["chaos", "--list"][..], &["siege", "--list"], &["load", "--target", "http://127.0.0.1:1"]]
    {
        let program = env!("CARGO_BIN_EXE_conclave-sim");
        let command = format!("{{ '{program}' {}; echo \"ended with $?\" >&3; }} 2>&1 | :", args.join(" "));
        let output = std::process::Command::new("bash")
            .args(["-c", &format!("{{ {command}; }} 3>&1")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = if args[0] == "load" { "ended with 2" } else { "ended with 0" };
        assert_eq!(said.trim(), expected, "{args:?}");
    }
}
