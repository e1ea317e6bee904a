//! What `conclave dev` says once the cluster is ready.

use std::fmt::Write;

use serde::Serialize;

use super::node::Plan;

/// One node, as it is announced.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Running {
    pub(crate) id: u64,
    pub(crate) http: String,
    pub(crate) admin: String,
    pub(crate) pid: u32,
}

/// One line for machines.
pub(super) fn json(nodes: &[Running], leader: Option<u64>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        nodes: &'a [Running],
        leader: Option<u64>,
    }
    let line = serde_json::to_string(&Line { nodes, leader }).expect("plain fields are JSON");
    format!("{line}\n")
}

/// The same for people, with something to try.
pub(super) fn words(
    nodes: &[Running],
    leader: Option<u64>,
    plans: &[Plan],
    table: String,
    page: bool,
) -> String {
    let leader = leader.map_or("nobody leads yet".to_owned(), |id| format!("node {id} leads"));
    let mut text = format!("\nThe cluster is ready: {leader}.\n{table}\n");
    let at = |i: usize| nodes[i % nodes.len()].http.as_str();
    let (first, second, third) = (at(0), at(1), at(2));
    if page {
        let _ = writeln!(
            text,
            "Send a file from device to device: open {first}/ here and {second}/ in another window.\n"
        );
    }
    let header = "-H 'content-type: application/json'";
    let _ = write!(
        text,
        r#"A sender, a receiver and a witness may each ask another node:

  curl -s {first}/api/relay {header} -d '{{"action":"send","pin":"2468","passwordHash":"demo","chunkIndex":0,"totalChunks":1,"data":"aGVsbG8="}}'
  curl -s {second}/api/relay {header} -d '{{"action":"receive","pin":"2468","passwordHash":"demo"}}'
  curl -s {third}/api/relay {header} -d '{{"action":"ack","pin":"2468","passwordHash":"demo"}}'
  curl -s {first}/readyz

  conclave cluster status --url {admin}
  conclave cluster transfer-leader --url {admin}
"#,
        admin = nodes[0].admin
    );
    if let Some(plan) = plans.first().and_then(|plan| plan.log.parent()) {
        let _ = writeln!(text, "\nLogs: {}/node-*.log. Ctrl-C ends all nodes.", plan.display());
    }
    text
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
        eprintln!("cannot open {url}: {opener}: {error}");
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

    #[test]
    fn machines_get_one_line() {
        let line = json(&nodes(2), Some(2));
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["leader"], 2);
        assert_eq!(value["nodes"][1]["http"], "http://127.0.0.1:3002");
        assert_eq!(value["nodes"][0]["pid"], 7);
        assert_eq!(value["nodes"][0].as_object().unwrap().len(), 4);
    }

    #[test]
    fn the_lines_to_try_are_json_and_use_every_node() {
        let text = words(&nodes(3), Some(1), &[], String::new(), true);
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
    fn one_node_is_enough() {
        assert!(words(&nodes(1), None, &[], String::new(), false).contains("nobody leads yet"));
    }
}
