//! A real Prometheus with the shipped rules looks at a real cluster.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use conclave_tests::cluster::{Cluster, READY};
use conclave_tests::http::Api;
use conclave_tests::proxy::{is_installed, path};
use conclave_tests::scratch::Scratch;
use conclave_tests::wait::eventually;
use conclave_tests::{Ports, Process};
use serde_json::Value;

use super::file;

/// A Prometheus that scrapes all nodes each second, and ends with this.
struct Prometheus {
    _process: Process,
    api: Api,
    _ports: Ports,
    _scratch: Scratch,
}

impl Prometheus {
    async fn start(cluster: &Cluster) -> Self {
        let (mut ports, scratch) = (Ports::default(), Scratch::new());
        let own = format!("127.0.0.1:{}", ports.take().expect("a port is free"));
        let place = |name: &str| scratch.path().join(name);
        // An alarm waits for a second where it waits for minutes elsewhere.
        let rules = file("alerts.yml");
        let hurried = rules.lines().map(|line| match line.trim_start().strip_prefix("for: ") {
            Some(_) => "        for: 1s",
            None => line,
        });
        let rules = hurried.collect::<Vec<_>>().join("\n");
        let targets = cluster.running().into_iter().map(|id| cluster.admin(id).address().to_string());
        let configuration = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs: [{{job_name: conclave, static_configs: [{{targets: [\"{}\"]}}]}}]\n",
            targets.collect::<Vec<_>>().join("\", \"")
        );
        for (name, text) in [("rules.yml", &rules), ("prometheus.yml", &configuration)] {
            fs::write(place(name), text).expect("the scratch folder can be written");
        }
        let mut program = Command::new("prometheus");
        program
            .arg(format!("--config.file={}", place("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", place("data").display()))
            .arg(format!("--web.listen-address={own}"))
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(program).expect("it is installed");
        Self { _process: process, api: Api::new(&format!("http://{own}")), _ports: ports, _scratch: scratch }
    }

    /// The names of the alarms that fire, once every node has been scraped.
    async fn firing(&self) -> Option<BTreeSet<String>> {
        let scraped = self.api.get("/api/v1/query?query=count(up)").attempt().await.ok()?;
        if scraped.status != 200 || scraped.json()["data"]["result"][0]["value"][1] != "3" {
            return None;
        }
        let alarms = self.api.get("/api/v1/alerts").attempt().await.ok()?.json();
        let firing = alarms["data"]["alerts"].as_array()?.iter().filter(|alarm| alarm["state"] == "firing");
        let name = |alarm: &Value| alarm["labels"]["alertname"].as_str().map(str::to_owned);
        Some(firing.filter_map(name).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_fire_while_two_nodes_of_three_are_gone_and_go_out_when_they_are_back() {
    if !is_installed("prometheus") {
        return;
    }
    let mut cluster = Cluster::builder().start().await;
    let prometheus = Prometheus::start(&cluster).await;
    let silent = async || prometheus.firing().await.filter(BTreeSet::is_empty);
    eventually(READY, "every node is scraped, and nothing fires", silent).await;

    let gone = [cluster.leader().await, cluster.followers().await[0]];
    for id in gone {
        cluster.kill(id).await;
    }
    eventually(READY, "what there is to say is said", async || {
        let firing = prometheus.firing().await?;
        ["ConclaveNodeDown", "ConclaveNoLeader", "ConclaveNotReady", "ConclavePeerUnreachable"]
            .iter()
            .all(|name| firing.contains(*name))
            .then_some(())
    })
    .await;

    gone.iter().for_each(|id| cluster.restart(*id));
    cluster.wait_ready().await;
    eventually(READY, "all alarms are out", silent).await;
}
