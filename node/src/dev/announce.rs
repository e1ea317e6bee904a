//! What `conclave dev` says once the cluster is ready.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::lan_https::Lan;
use super::node_process::Plan;
use super::qr;
use crate::terminal::cluster_status_table;

/// One node, as it is announced.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Running {
    pub(crate) id: u64,
    pub(crate) http: String,
    pub(crate) admin: String,
    pub(crate) pid: u32,
}

/// What there is to say.
pub(super) struct Cluster<'a> {
    pub(super) nodes: &'a [Running],
    pub(super) leader: Option<u64>,
    pub(super) plans: &'a [Plan],
    /// Of the nodes.
    pub(super) table: String,
    /// Whether the page is served.
    pub(super) page: bool,
    pub(super) lan: Option<&'a Lan>,
}

/// One line for machines.
pub(super) fn json(nodes: &[Running], leader: Option<u64>, lan: Option<&Lan>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        nodes: &'a [Running],
        leader: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<&'a Path>,
    }
    let certificate = lan.map(|lan| lan.certificate.as_path());
    let line = serde_json::to_string(&Line { nodes, leader, certificate }).expect("plain fields are JSON");
    format!("{line}\n")
}

/// The same for people, with something to try.
pub(super) fn words(Cluster { nodes, leader, plans, table, page, lan }: &Cluster<'_>) -> String {
    let leader = leader.map_or("nobody leads yet".to_owned(), |id| format!("node {id} leads"));
    let mut text = format!("\nThe cluster is ready: {leader}.\n{table}\n");
    let at = |i: usize| nodes[i % nodes.len()].http.as_str();
    let (first, second, third) = (at(0), at(1), at(2));
    if let Some(lan) = lan {
        nearby(&mut text, lan, first);
    } else if *page {
        let _ = writeln!(
            text,
            "Send a file from device to device: open {first}/ here and {second}/ in another window.\n"
        );
    }
    let header = "-H 'content-type: application/json'";
    let curl = match lan {
        Some(lan) => format!("curl -s --cacert {}", lan.certificate.display()),
        None => "curl -s".to_owned(),
    };
    let program = plans.first().map_or_else(|| "conclave".to_owned(), |plan| typed(&plan.program));
    // Drawn anew with each start, and used once only by each line.
    let pin = format!("{:08x}", rand::random::<u32>());
    let _ = write!(
        text,
        r#"A sender, a receiver and a witness may each ask another node:

  {curl} {first}/api/relay {header} -d '{{"action":"send","pin":"{pin}","passwordHash":"demo","chunkIndex":0,"totalChunks":1,"data":"aGVsbG8="}}'
  {curl} {second}/api/relay {header} -d '{{"action":"receive","pin":"{pin}","passwordHash":"demo"}}'
  {curl} {third}/api/relay {header} -d '{{"action":"ack","pin":"{pin}","passwordHash":"demo"}}'
  {curl} {first}/readyz

  {program} cluster status --url {admin}
  {program} cluster transfer-leader --url {admin}

Watch the cluster: open {admin}/
"#,
        admin = nodes[0].admin
    );
    if let Some(plan) = plans.first().and_then(|plan| plan.log.parent()) {
        let _ = writeln!(text, "\nLogs: {}/node-*.log. Ctrl-C ends all nodes.", plan.display());
    }
    text
}

/// A program as it is typed here, whether or not it is on the `PATH`.
fn typed(program: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    relative(program, &here).display().to_string()
}

/// Relative to a directory that it is below.
fn relative(program: &Path, here: &Path) -> PathBuf {
    match program.strip_prefix(here) {
        // A shell looks for a bare name in the `PATH`.
        Ok(below) if below.components().count() == 1 => Path::new(".").join(below),
        Ok(below) => below.to_owned(),
        Err(_) => program.to_owned(),
    }
}

/// How a phone on the desk gets to the page.
fn nearby(text: &mut String, lan: &Lan, url: &str) {
    let _ = writeln!(text, "On a phone in the same network, scan this or open {url}/\n");
    text.push_str(&qr::render(&format!("{url}/"), cluster_status_table::wants_colour()).unwrap_or_default());
    let _ = writeln!(
        text,
        "\nThe certificate was made for this run, so a browser warns once: go on if its SHA-256 is\n  {}\nIf the phone \
         gets no answer, look at this machine's firewall.\n",
        lan.fingerprint
    );
}

/// Opens `url` in a browser, if this machine has a way.
pub(super) fn open(url: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started = std::process::Command::new(opener)
        .arg(url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if let Err(error) = started {
        crate::terminal::tell(&format!("cannot open {url}: {opener}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<Running> {
        let node = |id| Running {
            id,
            http: format!("http://127.0.0.1:300{id}"),
            admin: format!("http://127.0.0.1:940{id}"),
            pid: 7,
        };
        (1..=count).map(node).collect()
    }

    fn cluster(nodes: &[Running], leader: Option<u64>, page: bool) -> Cluster<'_> {
        Cluster { nodes, leader, plans: &[], table: String::new(), page, lan: None }
    }

    #[test]
    fn a_phone_gets_a_code_a_fingerprint_and_lines_that_trust_the_certificate() {
        let home = tempfile::tempdir().unwrap();
        let lan = Lan::make("192.168.178.23".parse().unwrap(), home.path()).unwrap();
        let nodes = nodes(3);
        let text = words(&Cluster { lan: Some(&lan), ..cluster(&nodes, Some(1), true) });
        assert!(text.contains("▄▄▄▄▄") && text.contains(&lan.fingerprint), "{text}");
        assert!(text.contains(&format!("curl -s --cacert {} http", lan.certificate.display())), "{text}");
        assert!(json(&nodes, Some(1), Some(&lan)).contains("\"certificate\":"));
    }

    #[test]
    fn machines_get_one_line() {
        let line = json(&nodes(2), Some(2), None);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["leader"], 2);
        assert_eq!(value["nodes"][1]["http"], "http://127.0.0.1:3002");
        assert_eq!(value["nodes"][0]["pid"], 7);
        assert_eq!(value["nodes"][0].as_object().unwrap().len(), 4);
    }

    #[test]
    fn the_lines_to_try_are_json_and_use_every_node() {
        let text = words(&cluster(&nodes(3), Some(1), true));
        for node in nodes(3) {
            assert!(text.contains(&format!("curl -s {}/api/relay", node.http)), "{text}");
        }
        let bodies: Vec<&str> = text.lines().filter_map(|line| line.split(" -d '").nth(1)).collect();
        assert!(text.contains("open http://127.0.0.1:3001/ here"), "{text}");
        assert_eq!(bodies.len(), 3);
        for body in bodies {
            let body: serde_json::Value = serde_json::from_str(body.trim_end_matches('\'')).unwrap();
            assert!(body["action"].is_string());
        }
    }

    #[test]
    fn the_program_is_named_as_it_is_typed_where_one_is() {
        let named = |program: &str, here: &str| relative(program.as_ref(), here.as_ref());
        let built = "/home/alice/conclave/target/release/conclave";
        assert_eq!(named(built, "/home/alice/conclave"), Path::new("target/release/conclave"));
        assert_eq!(named(built, "/home/alice/conclave/target/release"), Path::new("./conclave"));
        assert_eq!(named(built, "/home/alice/other"), Path::new(built));
    }

    #[test]
    fn one_node_is_enough() {
        assert!(words(&cluster(&nodes(1), None, false)).contains("nobody leads yet"));
    }
}
