//! One node of the cluster: how it is started, watched and ended.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use conclave_supervisor::{Ports, Process, tail, write_secret};
use tokio::time::{Instant, sleep_until};

use super::lan_https::Lan;
use super::{Error, Options};
use crate::listener::browser_ports::is_blocked;

/// The file of the cluster's secret.
const SECRET: &str = "secret";
/// The file with the token of all admin listeners, where one is asked for.
const TOKEN: &str = "admin-token";
/// How long a dead node stays dead.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a node is and how it is started.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its id, from 1.
    pub(super) id: u64,
    /// Its log file.
    pub(super) log: PathBuf,
    scheme: &'static str,
    http: SocketAddr,
    admin: u16,
    /// Where its token for the admin listener would stand.
    token: PathBuf,
    pub(super) program: PathBuf,
    arguments: Vec<OsString>,
}

/// What becomes of a node.
#[derive(Debug)]
pub(super) enum Event {
    /// There is a process again, of this number.
    Started(io::Result<u32>),
    /// It ended, unasked.
    Ended(io::Result<ExitStatus>),
}

/// A node and its process.
pub(super) struct Node {
    pub(super) plan: Plan,
    process: Option<Process>,
    /// When it is started again, without a process.
    again: Instant,
}

/// Plans all nodes, their files under `home`.
pub(super) fn plan(options: &Options, lan: Option<&Lan>, home: &Path) -> Result<Vec<Plan>, Error> {
    let host = lan.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |lan| lan.address);
    let mut ports = Ports::of(host);
    let mut any = || (0..options.nodes).map(|_| ports.take()).collect::<io::Result<Vec<u16>>>();
    // Bound until all are chosen, so that no other is one of them.
    let row = options.base_port.map(|base| row(host, base, options.nodes)).transpose()?;
    let http = match &row {
        Some(row) => row.iter().map(|listener| Ok(listener.local_addr()?.port())).collect(),
        None => any(),
    }?;
    let (admin, peer) = (any()?, any()?);
    let members: Vec<String> =
        (1..).zip(&peer).map(|(id, port): (u64, _)| format!("{id}=127.0.0.1:{port}")).collect();
    let program = std::env::current_exe()?;
    write_secret(&home.join(SECRET))?;
    let named = options.set.iter().rev().find_map(|set| set.strip_prefix("admin.token_file="));
    let token = named.map_or_else(|| home.join(TOKEN), PathBuf::from);
    let nodes = (1..).zip(http).zip(admin).map(|((id, port), admin)| {
        let mut plan = Plan {
            id,
            log: home.join(format!("node-{id}.log")),
            scheme: if options.tls || lan.is_some() { "https" } else { "http" },
            http: SocketAddr::new(host, port),
            admin,
            token: token.clone(),
            program: program.clone(),
            arguments: Vec::new(),
        };
        plan.arguments = arguments(options, &plan, lan, home, &members);
        plan
    });
    Ok(nodes.collect())
}

/// `count` ports from `base` on, each of which must be free, and one that browsers open.
fn row(host: IpAddr, base: u16, count: u16) -> Result<Vec<TcpListener>, Error> {
    let last = base.checked_add(count - 1).ok_or(Error::PortsTooHigh(base))?;
    if let Some(port) = (base..=last).find(|port| is_blocked(*port)) {
        return Err(Error::PortBlocked(port));
    }
    let bind = |port| TcpListener::bind((host, port)).map_err(|error| Error::PortTaken { port, error });
    (base..=last).map(bind).collect()
}

fn arguments(
    options: &Options,
    plan: &Plan,
    lan: Option<&Lan>,
    home: &Path,
    members: &[String],
) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["serve".into(), "--exit-with-stdin".into()];
    if let Some(config) = &options.config {
        all.extend(["--config".into(), config.into()]);
    }
    // Nobody balances load here, and Ctrl-C is meant to end it.
    let token = format!("admin.token_file={}", plan.token.display());
    let mut sets = vec!["shutdown.lame_duck=0s".to_owned(), token];
    sets.extend_from_slice(&options.set);
    // Behind the others, so that these are the ones that count.
    sets.push(format!("cluster.secret_file={}", home.join(SECRET).display()));
    if let Some(lan) = lan {
        sets.push(format!("http.tls.cert={}", lan.certificate.display()));
        sets.push(format!("http.tls.key={}", lan.key.display()));
        // Others are told of this node by it.
        sets.push(format!("http.url={}", plan.http_url()));
    }
    all.extend(sets.iter().flat_map(|set| ["--set".into(), set.into()]));
    // Named flags are stronger than `--set` and the file: addresses and ids are ours.
    all.extend(["--node-id".into(), plan.id.to_string().into()]);
    all.extend(["--http".into(), plan.http.to_string().into()]);
    all.extend(["--admin".into(), format!("127.0.0.1:{}", plan.admin).into()]);
    all.extend(["--data-dir".into(), home.join(format!("node-{}", plan.id)).into()]);
    all.extend(members.iter().flat_map(|member| ["--member".into(), member.into()]));
    all
}

impl Plan {
    pub(super) fn http_url(&self) -> String {
        format!("{}://{}", self.scheme, self.http)
    }

    /// The token for its admin listener, once there is one.
    pub(super) fn admin_token(&self) -> Option<String> {
        std::fs::read_to_string(&self.token).ok().map(|token| token.trim().to_owned())
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// The last lines of the log.
    pub(super) fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn start(&self) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        Process::start_node(command, &self.log)
    }
}

impl Node {
    pub(super) fn start(plan: Plan) -> io::Result<Self> {
        Ok(Self { process: Some(plan.start()?), plan, again: Instant::now() })
    }

    /// Its process, if it has one.
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// What becomes of it next: that it ends, or that it is started again, if it is to be. May be dropped meanwhile.
    pub(super) async fn next(&mut self, restart: bool) -> Event {
        let event = match &mut self.process {
            Some(process) => Event::Ended(process.wait().await),
            None if restart => {
                sleep_until(self.again).await;
                match self.plan.start() {
                    Ok(process) => return Event::Started(Ok(self.process.insert(process).pid())),
                    Err(error) => Event::Started(Err(error)),
                }
            }
            None => std::future::pending().await,
        };
        self.process = None;
        self.again = Instant::now() + PAUSE;
        event
    }

    /// Ends it in good order, if that takes no longer than `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) {
        if let Some(process) = &mut self.process {
            // Killed in any case when it is dropped.
            let _ = process.stop(patience).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            nodes: 3,
            base_port: None,
            lan: None,
            tls: false,
            restart: true,
            json: false,
            page: true,
            open: false,
            config: Some("/etc/conclave.toml".into()),
            set: vec!["ttl.chunk=5s".to_owned()],
            patience: Duration::from_secs(1),
        }
    }

    #[test]
    fn every_node_knows_all_members_and_has_its_own_place() {
        let home = tempfile::tempdir().unwrap();
        let plans = plan(&options(), None, home.path()).unwrap();
        assert_eq!(plans.iter().map(|plan| plan.id).collect::<Vec<_>>(), [1, 2, 3]);
        for plan in &plans {
            let arguments: Vec<&str> =
                plan.arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
            assert_eq!(arguments[..2], ["serve", "--exit-with-stdin"]);
            assert_eq!(arguments.iter().filter(|argument| **argument == "--member").count(), 3);
            assert!(arguments.contains(&"ttl.chunk=5s") && arguments.contains(&"/etc/conclave.toml"));
            let data = home.path().join(format!("node-{}", plan.id));
            assert!(arguments.contains(&data.to_str().unwrap()));
            let secret = home.path().join("secret");
            assert!(arguments.contains(&format!("cluster.secret_file={}", secret.display()).as_str()));
            let mode = std::os::unix::fs::PermissionsExt::mode(&secret.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
            conclave_cluster::wire::Secrets::from_file(&secret).unwrap();
        }
        let urls: std::collections::BTreeSet<String> =
            plans.iter().flat_map(|plan| [plan.http_url(), plan.admin_url()]).collect();
        assert_eq!(urls.len(), 6);
    }

    #[test]
    fn machines_nearby_get_https_at_this_machines_address() {
        let home = tempfile::tempdir().unwrap();
        let lan = Lan::make("127.0.0.2".parse().unwrap(), home.path()).unwrap();
        for plan in plan(&options(), Some(&lan), home.path()).unwrap() {
            assert!(plan.http_url().starts_with("https://127.0.0.2:"));
            assert!(plan.admin_url().starts_with("http://127.0.0.1:"));
            let arguments: Vec<&str> =
                plan.arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
            for set in [
                format!("http.tls.cert={}", lan.certificate.display()),
                format!("http.tls.key={}", lan.key.display()),
                format!("http.url={}", plan.http_url()),
            ] {
                assert!(arguments.contains(&set.as_str()), "{set}");
            }
        }
    }

    /// A plan whose program is the shell.
    fn shell(home: &Path, script: &str) -> Plan {
        let arguments = vec!["-c".into(), script.into()];
        Plan {
            id: 1,
            log: home.join("log"),
            scheme: "http",
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            admin: 2,
            token: PathBuf::new(),
            program: "/bin/sh".into(),
            arguments,
        }
    }

    #[tokio::test]
    async fn a_node_that_dies_is_told_and_started_again() {
        let home = tempfile::tempdir().unwrap();
        let mut node = Node::start(shell(home.path(), "echo last words; exit 7")).unwrap();
        let Event::Ended(Ok(status)) = node.next(true).await else { panic!("it should have ended") };
        assert_eq!((status.code(), node.plan.tail(1).as_str()), (Some(7), "last words"));
        assert!(matches!(node.next(true).await, Event::Started(Ok(_))));
    }

    #[test]
    fn a_port_that_is_taken_and_one_that_cannot_be_are_named() {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = row(host, port, 1).unwrap_err();
        assert!(error.to_string().contains(&format!("port {port} is taken")), "{error}");
        assert!(matches!(row(host, 65_535, 3), Err(Error::PortsTooHigh(65_535))));
        assert!(matches!(row(host, 5_999, 3), Err(Error::PortBlocked(6_000))));
    }
}
