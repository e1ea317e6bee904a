use super::*;

struct Files {
    _folder: tempfile::TempDir,
    options: Options,
}

fn turns() -> FairSemaphore {
    crate::admission::Shares::default().handshakes
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        whose: Whose::Public,
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_authority: None,
        minimum: Minimum::default(),
        handshake: Duration::from_secs(5),
    };
    Files { _folder: folder, options }
}

fn write(options: &Options) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&options.certificate, made.cert.pem()).unwrap();
    std::fs::write(&options.key, made.signing_key.serialize_pem()).unwrap();
}

#[test]
fn a_new_file_that_cannot_be_used_changes_nothing() {
    let files = files();
    write(&files.options);
    let tls = Tls::new(files.options.clone(), turns()).unwrap();
    let before = tls.0.current.load_full();
    std::fs::write(&files.options.certificate, "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(Error::Pem { what: "certificate", .. })));
    assert!(Arc::ptr_eq(&before, &tls.0.current.load_full()));
    write(&files.options);
    tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.0.current.load_full()));
}

#[test]
fn a_certificate_that_has_expired_changes_nothing() {
    let files = files();
    write(&files.options);
    let tls = Tls::new(files.options.clone(), turns()).unwrap();
    let before = tls.validity();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&files.options.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files.options.key, key.serialize_pem()).unwrap();
    assert!(matches!(tls.reload(), Err(Error::Invalid { why: Invalid::Expired(_), .. })));
    assert_eq!(tls.validity(), before);
    assert!(Tls::new(files.options.clone(), turns()).is_err(), "nor does a node start with it");
}

#[test]
fn a_key_of_another_certificate_is_refused_and_not_shown() {
    let (one, other) = (files(), files());
    write(&one.options);
    write(&other.options);
    let mixed = Options { key: other.options.key.clone(), ..one.options.clone() };
    let names = [&mixed.certificate, &mixed.key].map(|path| path.display().to_string());
    let error = Tls::new(mixed, turns()).unwrap_err().to_string();
    assert!(!error.contains("BEGIN"), "{error}");
    assert!(names.iter().all(|name| error.contains(name)), "{error}");
    let swapped = Options { key: one.options.certificate.clone(), ..one.options.clone() };
    assert!(matches!(Tls::new(swapped, turns()), Err(Error::Pem { what: "private key", .. })));
}

#[test]
fn a_mark_that_an_editor_put_in_front_is_no_part_of_a_file() {
    let files = files();
    write(&files.options);
    for path in [&files.options.certificate, &files.options.key] {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, format!("\u{feff}{text}")).unwrap();
    }
    Tls::new(files.options, turns()).unwrap();
}

#[test]
fn an_encrypted_key_is_said_to_be_encrypted() {
    let files = files();
    write(&files.options);
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&files.options.key, pem).unwrap();
    let error = Tls::new(files.options, turns()).unwrap_err().to_string();
    assert!(error.starts_with("http.tls.key: ") && error.contains("the private key is encrypted"), "{error}");
}
