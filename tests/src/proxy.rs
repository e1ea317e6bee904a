//! Proxies of other makes on loopback: nginx and HAProxy, where they are installed.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::cluster::READY;
use crate::http::Api;
use crate::scratch::Scratch;
use crate::wait::eventually;
use crate::{Ports, Process};

/// A proxy that ends with this.
pub struct Proxy {
    _process: Process,
    /// Where it listens.
    pub api: Api,
    _ports: Ports,
    _scratch: Scratch,
}

impl Proxy {
    /// Starts nginx with this in its `http` block, which is told where to listen, and waits until it has a node to pass
    /// requests to.
    pub async fn nginx(http: impl FnOnce(SocketAddr) -> String) -> Self {
        let (mut ports, scratch) = (Ports::default(), Scratch::new());
        let address = SocketAddr::from(([127, 0, 0, 1], ports.take().expect("a port is free")));
        let home = scratch.path().display().to_string();
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};"))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid {home}/pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log off; {folders}\n{}\n}}",
            http(address)
        );
        let mut nginx = Command::new("nginx");
        nginx.args(["-p", &home, "-c"]);
        Self::start(nginx, &text, address, ports, scratch).await
    }

    /// Starts HAProxy with this file, which is told where to listen, and waits until it has a node to pass requests to.
    pub async fn haproxy(file: impl FnOnce(SocketAddr) -> String) -> Self {
        let (mut ports, scratch) = (Ports::default(), Scratch::new());
        let address = SocketAddr::from(([127, 0, 0, 1], ports.take().expect("a port is free")));
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f"]);
        Self::start(haproxy, &file(address), address, ports, scratch).await
    }

    async fn start(
        mut program: Command,
        text: &str,
        address: SocketAddr,
        ports: Ports,
        scratch: Scratch,
    ) -> Self {
        let file = scratch.path().join("configuration");
        fs::write(&file, text).expect("the scratch folder can be written");
        program.arg(&file).env("PATH", path()).stdin(Stdio::null());
        let process = Process::start(program).expect("it is installed");
        let api = Api::new(&format!("http://{address}"));
        let proxy = Self { _process: process, api, _ports: ports, _scratch: scratch };
        eventually(READY, "the proxy answers", async || {
            let reply = proxy.api.get("/livez").attempt().await.ok()?;
            (reply.status < 500).then_some(())
        })
        .await;
        proxy
    }
}

/// Whether a program is there. Elsewhere than in CI a machine may do without.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .env("PATH", path())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(found || env::var_os("CONCLAVE_CI").is_none(), "{program} is missing");
    found
}

/// Servers are where only an administrator's path leads.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}
