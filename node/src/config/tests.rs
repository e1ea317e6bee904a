//! The layers, the mistakes and the defaults.

use std::io::Write;
use std::time::Duration;

use super::environment::{ORIGINALS, variable};
use super::schema::{SECTIONS, keys};
use super::unit::Bytes;
use super::*;

/// A file, variables and flags, put together for one load.
#[derive(Default)]
struct Given {
    file: Option<tempfile::NamedTempFile>,
    variables: Vec<(String, String)>,
    flags: Vec<(String, String, String)>,
}

impl Given {
    fn file(mut self, text: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.file = Some(file);
        self
    }
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }
    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push(("--set".to_owned(), key.to_owned(), value.to_owned()));
        self
    }
    fn flags(self, flags: &[(&str, &str)]) -> Self {
        flags.iter().fold(self, |given, (key, value)| given.flag(key, value))
    }
    fn load(&self) -> Result<Effective, Problems> {
        load(&Sources {
            file: self.file.as_ref().map(|file| file.path().to_owned()),
            environment: self.variables.iter().cloned().collect(),
            flags: self.flags.clone(),
        })
    }
    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}")).config
    }
    fn complaint(&self) -> String {
        self.load().expect_err("this configuration is wrong").to_string()
    }
    fn refused(&self, part: &str) {
        let (given, complaint) = (&self.flags, self.complaint());
        assert!(complaint.contains(part), "{given:?}: {part} is not in {complaint}");
    }
}

fn given() -> Given {
    Given::default()
}

#[test]
fn nothing_given_is_the_defaults() {
    let effective = given().load().unwrap();
    assert_eq!(effective.config, Config::default());
    assert_eq!(effective.origin("http.listen"), DEFAULT);
}

#[test]
fn each_layer_overrides_the_one_below() {
    let file = given().file("[ttl]\nchunk = \"10s\"\n");
    assert_eq!(file.config().ttl.chunk, Duration::from_secs(10));
    let variable = file.variable("CONCLAVE_TTL__CHUNK", "20s");
    assert_eq!(variable.config().ttl.chunk, Duration::from_secs(20));
    let flag = variable.flag("ttl.chunk", "30s");
    assert_eq!(flag.config().ttl.chunk, Duration::from_secs(30));
    let later_flag = flag.flag("ttl.chunk", "40s");
    assert_eq!(later_flag.config().ttl.chunk, Duration::from_secs(40));
}

#[test]
fn every_value_knows_its_origin() {
    let effective = given()
        .file("[http]\nbacklog = 7\n\n[ttl]\n# a comment\nsignal = \"5s\"\n")
        .variable("CONCLAVE_NODE__ID", "3")
        .flag("log.level", "debug")
        .load()
        .unwrap();
    assert!(effective.origin("ttl.signal").ends_with(", line 6"), "{}", effective.origin("ttl.signal"));
    assert_eq!(effective.origin("node.id"), "environment variable CONCLAVE_NODE__ID");
    assert_eq!(effective.origin("log.level"), "flag --set");
    assert_eq!(effective.origin("ttl.chunk"), DEFAULT);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    given()
        .file("[http]\n\nworkerz = 3\n")
        .refused("line 3: there is no key `http.workerz`; did you mean `http.workers`?");
    given()
        .variable("CONCLAVE_HTPP__LISTEN", "127.0.0.1:1")
        .refused("CONCLAVE_HTPP__LISTEN: there is no key `htpp.listen`; did you mean `http.listen`?");
    given().flag("grace", "3s").refused("did you mean `shutdown.grace`?");
    given().file("[nonsense]\n").refused("there is no key `nonsense`");
}

#[test]
fn a_section_where_a_key_belongs_is_explained() {
    given().flag("allowance.tiers.create", "5").refused("`allowance.tiers.create` is a section");
}

#[test]
fn a_single_underscore_is_noticed_but_strangers_are_not() {
    given().variable("CONCLAVE_HTTP_LISTEN", "127.0.0.1:1").refused("did you mean `CONCLAVE_HTTP__LISTEN`?");
    let kubernetes = given()
        .variable("CONCLAVE_SERVICE_HOST", "10.0.0.1")
        .variable("CONCLAVE_PORT_3000_TCP", "tcp://10.0.0.1:3000");
    assert_eq!(kubernetes.config(), Config::default());
}

#[test]
fn variables_of_the_command_line_are_no_keys() {
    let config = given()
        .variable("CONCLAVE_ADMIN_URL", "http://10.0.0.1:9400")
        .variable("CONCLAVE_CONFIG", "/etc/conclave.toml")
        .config();
    assert_eq!(config, Config::default());
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let wrong = given()
        .file("[http]\nworkerz = 3\nlisten = \"nowhere\"\nbacklog = 0\n[auth]\nrequired = true\n")
        .flag("ttl.chunk", "soon");
    for part in
        ["workerz", ", line 3: `http.listen`", "`http.backlog`", "`auth.required`", "flag --set: `ttl.chunk`"]
    {
        wrong.refused(part);
    }
}

#[test]
fn text_is_read_as_the_kind_of_value_the_key_takes() {
    let config = given()
        .variable("CONCLAVE_CLUSTER__NAME", "123")
        .variable("CONCLAVE_HTTP__COMPRESSION", "off")
        .variable("CONCLAVE_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, 192.168.0.0/16")
        .variable("CONCLAVE_STORAGE__BYTES_MAX", "2GiB")
        .file("[ttl]\nchunk = 90\nsignal = 1.5\n[http]\nbody_bytes_max = 100000\n")
        .flag("cluster.members", r#"["1=127.0.0.1:1","2=[::1]:2"]"#)
        .config();
    assert_eq!(config.cluster.name, "123");
    assert!(!config.http.compression);
    assert_eq!(config.http.trusted_proxies, ["10.0.0.0/8", "192.168.0.0/16"]);
    assert_eq!(config.storage.bytes_max, Bytes(2 << 30));
    assert_eq!(config.cluster.members, ["1=127.0.0.1:1", "2=[::1]:2"]);
    assert_eq!(config.ttl.chunk, Duration::from_secs(90));
    assert_eq!(
        (config.ttl.signal, config.http.body_bytes_max),
        (Duration::from_millis(1500), Bytes(100_000))
    );
}

#[test]
fn wrong_kinds_are_refused() {
    for (key, value) in [
        ("http.workers", "many"),
        ("http.compression", "perhaps"),
        ("http.listen", "3000"),
        ("edition.name", "premium"),
        ("log.format", "xml"),
        ("log.level", "conclave=loud"),
        ("log.level", "inof"),
        ("log.level", "info,conclave_node"),
        ("cluster.members", "[1, 2]"),
        ("storage.bytes_max", "-1"),
    ] {
        given().flag(key, value).refused(&format!("flag --set: `{key}`"));
    }
    given().file("[http]\nworkers = \"four\"\n").refused("line 2: `http.workers`");
    given().file("[http]\nworkers = -4\n").refused("line 2: `http.workers`");
}

#[test]
fn broken_toml_names_its_line() {
    given().file("[http]\nlisten = \"127.0.0.1:1\"\nworkers = = 3\n").refused(", line 3: ");
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources { file: Some("/nowhere/conclave.toml".into()), ..Sources::default() };
    assert!(load(&sources).unwrap_err().to_string().contains("cannot read /nowhere/conclave.toml"));
}

#[test]
fn a_value_may_be_kept_in_a_file() {
    let secret = given().file("vault\n");
    let path = secret.file.as_ref().unwrap().path().to_str().unwrap();
    assert_eq!(given().variable("CONCLAVE_CLUSTER__NAME_FILE", path).config().cluster.name, "vault");
    given()
        .variable("CONCLAVE_CLUSTER__NAME_FILE", path)
        .variable("CONCLAVE_CLUSTER__NAME", "other")
        .refused("CONCLAVE_CLUSTER__NAME and CONCLAVE_CLUSTER__NAME_FILE");
    let unreadable = given().variable("CONCLAVE_CLUSTER__NAME_FILE", "/nowhere/secret");
    unreadable.refused("/nowhere/secret (named by environment variable");
}

#[test]
fn the_originals_variables_are_understood() {
    let original = given()
        .variable("PORT", "8080")
        .variable("ALLOWED_ORIGINS", "https://a.example, https://b.example")
        .variable("SIGNAL_TTL_MS", "1500")
        .variable("CHUNK_TTL_MS", "90000")
        .variable("QSAFEVAULT_EDITION", " Enterprise ")
        .variable("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true");
    let config = original.config();
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.http.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.ttl.signal, Duration::from_millis(1500));
    assert_eq!(config.ttl.register, Duration::from_millis(1500));
    assert_eq!(config.ttl.chunk, Duration::from_secs(90));
    assert_eq!(config.edition.name, crate::edition::Edition::Enterprise);
    let ours = original.variable("CONCLAVE_HTTP__LISTEN", "127.0.0.1:9").config();
    assert_eq!(ours.http.listen.to_string(), "127.0.0.1:9");
}

#[test]
fn enterprise_wants_acknowledgement() {
    let enterprise = given().variable("QSAFEVAULT_EDITION", "enterprise");
    enterprise.refused("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED=true");
    let denied = enterprise.variable("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "false");
    denied.refused("`edition.acknowledged`");
}

#[test]
fn enterprise_refuses_managed_platforms() {
    let enterprise = || {
        given()
            .variable("QSAFEVAULT_EDITION", "enterprise")
            .variable("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true")
            .variable("AWS_LAMBDA_FUNCTION_NAME", "relay")
    };
    enterprise().refused("AWS Lambda");
    let allowed = enterprise().variable("QSAFEVAULT_ENTERPRISE_ALLOW_MANAGED", "true");
    assert!(allowed.config().edition.allow_managed);
    assert!(given().variable("VERCEL", "1").load().is_ok(), "consumer runs anywhere");
}

#[test]
fn rules_across_values_hold() {
    for (flags, part) in [
        (&[("node.id", "0")][..], "must be at least 1, not 0"),
        (&[("admin.listen", "127.0.0.1:3000")], "has this address already"),
        (&[("admin.tls.cert", "cert.pem")], "certificate and key belong together"),
        (&[("admin.tls.client_ca", "ca.pem")], "needs admin.tls.cert"),
        (&[("http.allowed_origins", "https://a.example/path")], "no path"),
        (&[("http.allowed_origins", "*,https://a.example")], "stands alone"),
        (&[("http.trusted_proxies", "10.0.0.0/99")], "not a network"),
        (&[("http.proxy_protocol", "proxy.example")], "not a network"),
        (&[("cluster.members", "1=a:1,1=b:2")], "named twice"),
        (&[("cluster.members", "2=a:1")], "not among them"),
        (&[("cluster.members", "1=a")], "not a member"),
        (&[("cluster.join", "true")], "must say where"),
        (&[("cluster.members", "1=a:1"), ("cluster.join", "true")], "either first members or join"),
        (&[("cluster.tls.ca", "ca.pem")], "all three or none"),
        (&[("cluster.secret_file", "/nowhere/secret")], "there is no file /nowhere/secret"),
        (&[("raft.election_min", "300ms")], "two heartbeats"),
        (&[("raft.election_max", "300ms")], "longer than raft.election_min"),
        (&[("ttl.device", "1s")], "must be between 30s and 1d, not 1s"),
        (&[("allowance.tiers.poll.limit", "0")], "not 0: allowance.enabled = false"),
        (&[("allowance.tiers.poll.window", "0s")], "must be between 100ms and 1d, not 0ms"),
        (&[("limits.waits_max", "0")], "at least 1"),
        (&[("shares.client_percent", "0")], "must be between 1 and 100"),
        (&[("shares.network_percent", "10")], "at least what one client"),
        (&[("shares.reserve_percent", "51")], "must be at most 50"),
        (&[("storage.transfer_age_max", "30s")], "at least as long"),
        (&[("auth.required", "true")], "needs auth.keys"),
        (&[("auth.keys", "HS256")], "a key is written as"),
        (&[("auth.leeway", "61s")], "must be at most 1m"),
        (&[("auth.jwks", "http://issuer.example/keys")], "https it must be"),
        (&[("auth.jwks", "ftp://issuer.example/keys")], "not a URL such as"),
        (&[("auth.oidc_issuer", "issuer.example")], "not a URL such as"),
        (&[("auth.oidc_issuer", "https://issuer.example?a=b")], "an issuer has no query"),
        (
            &[("auth.oidc_issuer", "https://a.example"), ("auth.jwks", "https://a.example/keys")],
            "either a key set or an issuer",
        ),
        (&[("auth.jwks_stale_max", "9s")], "must be between 10s and 30d, not 9s"),
        (&[("auth.jwks_ca", "/there/is/none.pem")], "there is no file"),
        (&[("admission.opens", "0")], "at least 1"),
        (&[("ice.turn", "turn:turn.example")], "needs ice.secrets"),
        (&[("ice.stun", "http://turn.example")], "is not a URL"),
        (&[("telemetry.otlp_endpoint", "http://collector.example")], "https it must be"),
        (&[("webhooks.urls", "https://ops.example")], "needs webhooks.secret_file"),
        (&[("webhooks.urls", "http://ops.example")], "https it must be"),
        (&[("webhooks.urls", "https://a,https://b,https://c,https://d,https://e")], "at most 4"),
        (&[("webhooks.events", "room.*")], "`room.*`: an event is socket.connected,"),
        (&[("webhooks.secret_file", "/nowhere/secret")], "there is no file /nowhere/secret"),
        (&[("webhooks.retry_for", "2d")], "must be between 1s and 1d"),
        (&[("webhooks.queue_events_max", "0")], "must be between 1 and 1000000"),
    ] {
        given().flags(flags).refused(part);
    }
}

#[test]
fn where_a_node_listens_is_not_where_others_reach_it() {
    let secret = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (flags, key) in [
        (&[("cluster.listen", "0.0.0.0:7400")][..], "cluster.advertise"),
        (&[("cluster.listen", "[::]:7400")], "cluster.advertise"),
        (&[("cluster.listen", "10.0.0.1:7400"), ("cluster.advertise", "0.0.0.0:7400")], "cluster.advertise"),
        (
            &[("cluster.join", "true"), ("cluster.listen", "a:1"), ("cluster.advertise", "[::]:1")],
            "cluster.advertise",
        ),
        (&[("cluster.members", "1=0.0.0.0:7400,2=10.0.0.2:7400")], "cluster.members"),
    ] {
        given().flags(flags).flag("cluster.secret_file", secret).refused(key);
    }
}

#[test]
fn a_peer_port_that_strangers_may_reach_needs_a_secret_or_certificates() {
    let open: &[&[(&str, &str)]] = &[
        &[("cluster.members", "1=10.0.0.1:7400")],
        &[("cluster.members", "1=127.0.0.1:7400,2=node-2:7400,3=127.0.0.1:7402")],
        &[("cluster.listen", "0.0.0.0:7400"), ("cluster.advertise", "10.0.0.1:7400")],
        &[("cluster.listen", "[::]:7400"), ("cluster.join", "true")],
        &[("cluster.members", "1=127.0.0.1:7400"), ("cluster.listen", "0.0.0.0:7400")],
        &[("cluster.members", "1=127.0.0.1:7400"), ("cluster.advertise", "10.0.0.1:7400")],
    ];
    let secret = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for flags in open {
        given().flags(flags).refused("set cluster.secret_file (the same secret on every node");
        given().flags(flags).refused("or cluster.tls.ca, cluster.tls.cert and cluster.tls.key");
        let guarded = given().flags(flags).flag("cluster.secret_file", secret);
        assert!(guarded.load().is_ok(), "{flags:?}");
    }
    let closed: &[&[(&str, &str)]] = &[
        &[],
        &[("cluster.listen", "127.0.0.1:7400"), ("cluster.join", "true")],
        &[("cluster.members", "1=127.0.0.1:7400,2=localhost:7401,3=[::1]:7402")],
    ];
    for flags in closed {
        assert!(given().flags(flags).load().is_ok(), "{flags:?}");
    }
}

#[test]
fn the_template_names_every_key_and_reads_back() {
    let text = template();
    let effective = given().file(&text).load().unwrap();
    assert_eq!(effective.config, Config::default());
    for key in keys() {
        assert!(effective.origin(&key.name).contains(", line "), "{} is not in the template", key.name);
        assert!(!key.about[0].is_empty(), "{} has no meaning", key.name);
    }
    for section in SECTIONS.iter().filter(|section| !section.keys.is_empty()) {
        assert!(text.contains(&format!("\n[{}]\n", section.path)), "{}", section.path);
    }
}

#[test]
fn every_key_is_set_by_its_variable() {
    for key in keys() {
        let name = variable(&key.name);
        let effective = given().variable(&name, &super::value::shown(&key.default)).load().unwrap();
        assert_eq!(effective.origin(&key.name), format!("environment variable {name}"));
        assert_eq!(effective.config, Config::default());
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    for (key, least, most) in [
        ("shutdown.grace", "0s", "1h"),
        ("http.body_bytes_max", "64KiB", "64MiB"),
        ("shares.reserve_percent", "0", "50"),
    ] {
        assert!(given().flag(key, least).load().is_ok() && given().flag(key, most).load().is_ok(), "{key}");
    }
    given().flag("http.body_bytes_max", "65535").refused("between 64KiB and 64MiB");
    given().flag("shutdown.grace", "3601s").refused("at most 1h, not 3601s");
}

#[test]
fn the_guide_is_the_reference_that_is_printed() {
    let guide = include_str!("../../../docs/configuration.md");
    assert!(
        guide == reference(),
        "docs/configuration.md is made: conclave default-config --markdown > docs/configuration.md"
    );
    for (variable, ..) in ORIGINALS {
        assert!(guide.contains(&format!("| `{variable}` |")), "the guide says nothing of {variable}");
    }
}
