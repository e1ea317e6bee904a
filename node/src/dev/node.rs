//! One node of the cluster: how it is started, watched and ended.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::Options;
use super::lan::Lan;
use super::ports::{self, Picker};

/// The file of the cluster's secret.
const SECRET: &str = "secret";
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
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// What became of a node.
#[derive(Debug)]
pub(super) enum Event {
    /// Its process is there.
    Started { id: u64, pid: u32 },
    /// Its process ended, unasked.
    Ended { id: u64, status: ExitStatus },
    /// There is no process.
    Unstarted { id: u64, error: io::Error },
}

/// Plans all nodes, their files under `home`.
pub(super) fn plan(options: &Options, lan: Option<&Lan>, home: &Path) -> Result<Vec<Plan>, super::Error> {
    let host = lan.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |lan| lan.address);
    let mut picker = Picker::of(host);
    let count = options.nodes;
    let http = match options.base_port {
        Some(base) => picker.row(base, count)?,
        None => any(&mut picker, count)?,
    };
    let (admin, peer) = (any(&mut picker, count)?, any(&mut picker, count)?);
    let members: Vec<String> =
        (1..).zip(&peer).map(|(id, port): (u64, _)| format!("{id}=127.0.0.1:{port}")).collect();
    let program = std::env::current_exe()?;
    write_secret(&home.join(SECRET))?;
    let nodes = (1..).zip(http).zip(admin).map(|((id, port), admin)| {
        let mut plan = Plan {
            id,
            log: home.join(format!("node-{id}.log")),
            scheme: if options.tls || lan.is_some() { "https" } else { "http" },
            http: SocketAddr::new(host, port),
            admin,
            program: program.clone(),
            arguments: Vec::new(),
        };
        plan.arguments = arguments(options, &plan, lan, home, &members);
        plan
    });
    Ok(nodes.collect())
}

/// A secret of this cluster's own: whoever else is on this machine must not reach its peer ports.
fn write_secret(path: &Path) -> io::Result<()> {
    let secret: [u8; 32] = rand::random();
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{digits}")
}

fn any(picker: &mut Picker, count: u16) -> Result<Vec<u16>, ports::Error> {
    (0..count).map(|_| picker.any()).collect()
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
    all.extend(["--set".into(), "shutdown.lame_duck=0s".into()]);
    for set in &options.set {
        all.extend(["--set".into(), set.into()]);
    }
    // Behind the others, so that these are the ones that count.
    let mut ours = vec![format!("cluster.secret_file={}", home.join(SECRET).display())];
    if let Some(lan) = lan {
        ours.push(format!("http.tls.cert={}", lan.certificate.display()));
        ours.push(format!("http.tls.key={}", lan.key.display()));
        // Others are told of this node by it.
        ours.push(format!("http.url={}", plan.http_url()));
    }
    for set in ours {
        all.extend(["--set".into(), set.into()]);
    }
    // Named flags are stronger than `--set` and the file: addresses and ids are ours.
    all.extend(["--node-id".into(), plan.id.to_string().into()]);
    all.extend(["--http".into(), plan.http.to_string().into()]);
    all.extend(["--admin".into(), format!("127.0.0.1:{}", plan.admin).into()]);
    all.extend(["--data-dir".into(), home.join(format!("node-{}", plan.id)).into()]);
    for member in members {
        all.extend(["--member".into(), member.into()]);
    }
    all
}

impl Plan {
    pub(super) fn http_url(&self) -> String {
        format!("{}://{}", self.scheme, self.http)
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// The last lines of the log.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Starts the process. Its lifeline is taken out, since waiting for a child closes the pipe that it still has.
    fn start(&self) -> io::Result<(Child, Option<ChildStdin>)> {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let lifeline = child.stdin.take();
        Ok((child, lifeline))
    }
}

/// Keeps a node running until told to stop, then ends it in good order.
pub(super) async fn keep(
    plan: Plan,
    restart: bool,
    patience: Duration,
    mut stop: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
) {
    let id = plan.id;
    loop {
        match plan.start() {
            Ok((mut child, lifeline)) => {
                let _ = events.send(Event::Started { id, pid: child.id().unwrap_or_default() }).await;
                tokio::select! {
                    ended = child.wait() => {
                        let event = match ended {
                            Ok(status) => Event::Ended { id, status },
                            Err(error) => Event::Unstarted { id, error },
                        };
                        let _ = events.send(event).await;
                    }
                    () = stopped(&mut stop) => return end(child, lifeline, patience).await,
                }
            }
            Err(error) => {
                let _ = events.send(Event::Unstarted { id, error }).await;
            }
        }
        if !restart {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone, which is the same wish.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Asks a node to end, and kills it if it has not after `patience`.
async fn end(mut child: Child, lifeline: Option<ChildStdin>, patience: Duration) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // A process that was stopped, to see what the others do, must run to hear the first.
        let _ = kill_process(pid, Signal::TERM);
        let _ = kill_process(pid, Signal::CONT);
    }
    if tokio::time::timeout(patience, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    drop(lifeline);
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
            program: "/bin/sh".into(),
            arguments,
        }
    }

    #[tokio::test]
    async fn a_node_that_dies_is_told_and_started_again() {
        let home = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (report, mut events) = mpsc::channel(16);
        let plan = shell(home.path(), "echo last words; exit 7");
        let keeper = tokio::spawn(keep(plan.clone(), true, Duration::from_secs(1), stopped, report));
        assert!(matches!(events.recv().await, Some(Event::Started { id: 1, .. })));
        let Some(Event::Ended { status, .. }) = events.recv().await else { panic!("it should have ended") };
        assert_eq!(status.code(), Some(7));
        assert_eq!(plan.tail(1), "last words");
        assert!(matches!(events.recv().await, Some(Event::Started { id: 1, .. })));
        stop.send(true).unwrap();
        keeper.await.unwrap();
    }

    #[tokio::test]
    async fn a_node_that_is_asked_to_end_gets_sigterm_and_keeps_its_lifeline() {
        let home = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (report, mut events) = mpsc::channel(16);
        // Reads its standard input, so that an early end of the pipe would show as another word.
        let plan = shell(
            home.path(),
            "trap 'echo asked; exit 0' TERM; echo up; while read line; do :; done; echo cut",
        );
        let keeper = tokio::spawn(keep(plan.clone(), true, Duration::from_secs(10), stopped, report));
        assert!(matches!(events.recv().await, Some(Event::Started { .. })));
        while plan.tail(1) != "up" {
            tokio::task::yield_now().await;
        }
        stop.send(true).unwrap();
        keeper.await.unwrap();
        assert_eq!(plan.tail(1), "asked");
    }

    #[tokio::test]
    async fn a_node_that_does_not_listen_is_killed() {
        let home = tempfile::tempdir().unwrap();
        let plan = shell(home.path(), "trap '' TERM; echo up; while read line; do :; done; echo cut");
        let (child, lifeline) = plan.start().unwrap();
        while plan.tail(1) != "up" {
            tokio::task::yield_now().await;
        }
        end(child, lifeline, Duration::from_millis(100)).await;
        assert_eq!(plan.tail(1), "up");
    }
}
