//! One node, from its first socket to its last flush.
//!
//! The order matters. Both listeners are bound first, so that a taken port is told before anything is written; the
//! admin listener answers while the cluster part still looks for its peers, and the public one says 503 until then. On
//! the way out: leadership is handed over and `/readyz` says 503 while everything is served for `shutdown.lame_duck`;
//! then new work is refused with 503 while what runs is finished; then the port is closed and the log flushed.

mod certificate_reload;
mod certificates;
mod error;
mod farewell;
mod options;
mod preflight;
mod secret_reload;
pub(crate) mod signals;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{rt, web};
use conclave_cluster::{Cluster, World};

use crate::actors::{self, Registry};
use crate::admin::{self, AdminState, Phase};
use crate::admission::{Shares, descriptors};
use crate::config::{Config, Environment};
use crate::listener;
use crate::service::{Services, registrations, revocations, security_events};
use crate::telemetry::metrics::{About, Metrics, UPKEEP};
use crate::transport::ws::Sockets;
use crate::transport::{self, AppState, Edge, Pipeline};
pub use error::Error;
pub(crate) use preflight::{Preflight, preflight};
use signals::Signals;

/// For how long a client that reads slowly may keep its connection after its answer, when the node goes.
const LINGER_SECONDS: u64 = 1;

/// Runs a node until a signal ends it.
pub fn run(config: &Config, environment: &Environment) -> Result<(), Error> {
    // Whatever this process writes is for nobody else, whoever started it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    refuse_huge_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options::workers(config))
        .enable_all()
        .thread_name("node")
        .build()?;
    // `System` takes a function that cannot fail; the runtime is made before, where it may.
    let mut runtime = Some(runtime);
    let system = actix_rt::System::with_tokio_rt(move || runtime.take().expect("it is called once"));
    system.block_on(live(config, environment))
}

/// The allocator asks for pages of 2 MiB, which the system clears in one go, and gives what is free back after a
/// second. Buffers that come and go with the load use a small part of each: clearing them was two fifths of the CPU at
/// 44,000 bytes a chunk.
fn refuse_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the system uses huge pages as it likes");
    }
}

async fn live(config: &Config, environment: &Environment) -> Result<(), Error> {
    let data_dir = data_dir(config, environment)?;
    let access = options::access(config)?;
    let (webhooks, traces) = (options::webhooks(config)?, options::traces(config)?);
    let mut signals = Signals::new()?;
    let asked = signals::hangups()?;
    signals::take_file_size_limit()?;
    let public = bind(config.http.listen, config.http.backlog, "http.listen")?;
    let private = bind(config.admin.listen, 128, "admin.listen")?;
    let telemetry =
        config.telemetry.listen.map(|address| bind(address, 128, "telemetry.listen")).transpose()?;
    let (http_url, admin_url) = (
        url(&config.http.url, config.http.tls.scheme(), public.local_addr()?),
        url(&config.admin.url, config.admin.tls.scheme(), private.local_addr()?),
    );

    let metrics = Metrics::install()?;
    let connections_max = descriptors(config)?;
    let shares = Shares::new(&options::shares(config, connections_max));
    let tls = options::public_tls(config, shares.handshakes.clone())?;
    rt::spawn(upkeep(metrics.clone()));
    let state = AdminState::new(metrics, about(config));
    let gate = options::admin_gate(config, &data_dir)?;
    let admin_tls = options::admin_tls(config)?;
    let admin = admin::listen(private, state.clone(), gate, admin_tls.clone())?;
    let admin_handle = admin.handle();
    let mut admin = rt::spawn(admin);
    let telemetry = telemetry.map(|listener| admin::observe(listener, state.clone())).transpose()?;
    let telemetry_handle = telemetry.as_ref().map(actix_web::dev::Server::handle);
    let mut telemetry = rt::spawn(async {
        match telemetry {
            Some(telemetry) => telemetry.await,
            None => std::future::pending().await,
        }
    });

    options::never_opened(config).iter().for_each(|warning| tracing::warn!("{warning}"));
    tracing::info!(node = config.node.id, version = env!("CARGO_PKG_VERSION"), admin = admin_url, "starting");
    let edge_options = options::edge(config, access, shares, traces);
    // The cluster need not be there for it.
    rt::spawn(edge_options.access.auth.clone().keep_fetched(asked.clone()));
    // The port answers all the time: what it says until the node serves is that it does not.
    let edge = Arc::new(Edge::new(&edge_options, not_ready(config)));
    let server = serve_public(config, connections_max, tls.clone(), public, &edge_options, edge.clone())?;
    let public_handle = server.handle();
    let mut server = rt::spawn(server);
    let options = options::cluster(config, http_url.clone(), admin_url)?;
    let in_use = certificates::in_use(config, [tls.as_ref(), admin_tls.as_ref()], options.tls.as_ref());
    rt::spawn(certificates::watch(in_use));
    if let Some(tls) = options.tls.clone() {
        let cluster = config.cluster.name.clone();
        rt::spawn(certificate_reload::keep_current(tls, cluster, config.node.id, asked.clone()));
    }
    let secrets = options.secrets.clone();
    let world = World::real(data_dir.clone(), &options)?;
    let cluster = tokio::select! {
        started = Cluster::start(options, world) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "asked to stop before the cluster was up");
            return Ok(());
        }
    };
    state.attach(cluster.clone());

    rt::spawn(edge_options.access.auth.clone().keep_current(asked.clone()));
    if let Some(secrets) = secrets {
        rt::spawn(secret_reload::keep_current(secrets, asked.clone()));
    }
    webhooks.start();
    edge_options.traces.start();
    rt::spawn(webhooks.clone().keep_current(asked.clone()));
    for tls in [tls.clone(), admin_tls].into_iter().flatten() {
        rt::spawn(tls.keep_current(asked.clone()));
    }
    let registry = Registry::new(cluster.clone(), edge_options.limits());
    // Beside apply, which makes the hints, and not on the threads that serve.
    tokio::spawn(actors::dispatch::run(cluster.hints(), registry.clone()));
    tokio::spawn(actors::room::run(cluster.datagrams(), registry.clone()));
    let (auth, terms) = (edge_options.access.auth.clone(), options::terms(config));
    let services = Arc::new(Services::new(cluster.clone(), registry, auth, terms, webhooks));
    rt::spawn(revocations::follow(services.clone()));
    rt::spawn(registrations::follow(services.clone()));
    rt::spawn(security_events::write(services.clone()));
    state.serve(services.clone());
    let sockets = Sockets::new(options::sockets(config), services.clone());
    rt::spawn(sockets.clone().keep());
    state.seat(sockets.clone());
    let shared = web::Data::new(AppState::new(services, edge_options));
    edge.open(Pipeline::new(shared.clone(), sockets.clone()));
    state.enter(Phase::Serving);
    tracing::info!(node = config.node.id, http = http_url, edition = %config.edition.name, "serving");
    let grace = config.shutdown.grace;
    let gone = (shared.clone(), sockets.clone(), cluster.clone());
    let removal = rt::spawn(async move { farewell::once_removed(grace, &gone.0, &gone.1, &gone.2).await });

    let mut lame_duck = Duration::ZERO;
    let ended = tokio::select! {
        signal = signals.next() => {
            // Whoever presses Ctrl-C waits, and no load balancer does; nor one of a node that was removed.
            if signal == signals::TERMINATE && !cluster.is_removed() {
                lame_duck = config.shutdown.lame_duck;
            }
            tracing::info!(signal, ?lame_duck, ?grace, "shutting down; a second signal forces exit");
            Ok(())
        }
        why = cluster.failed() => return Err(Error::failed(why, data_dir)),
        _ = &mut server => Err(Error::Ended("public")),
        _ = &mut admin => Err(Error::Ended("admin")),
        _ = &mut telemetry => Err(Error::Ended("telemetry")),
    };
    rt::spawn(signals.second_ends_at_once());
    state.enter(Phase::Draining);
    farewell::serve_as_lame_duck(lame_duck, &shared, &cluster).await;
    removal.abort();
    let left = farewell::leave(grace, &shared, &sockets, &public_handle, &cluster).await;
    if let Some(telemetry) = telemetry_handle {
        telemetry.stop(false).await;
    }
    admin_handle.stop(false).await;
    ended.and(left)
}

/// Sees to it that there are descriptors, and says how many connections of the public they are enough for.
fn descriptors(config: &Config) -> Result<usize, Error> {
    let configured = config.http.connections_max;
    let descriptors::Found { before, limit } = descriptors::raise(configured)?;
    let connections = descriptors::connections(limit, configured);
    if connections < configured {
        tracing::warn!(
            before,
            limit,
            connections,
            configured,
            "the limit of open files (LimitNOFILE, ulimit -n) is too low for http.connections_max; fewer connections are taken"
        );
    } else {
        tracing::info!(
            before,
            limit,
            connections,
            "there are enough file descriptors for http.connections_max"
        );
    }
    Ok(connections)
}

fn serve_public(
    config: &Config,
    connections_max: usize,
    tls: Option<listener::Tls>,
    listener: TcpListener,
    options: &transport::Options,
    edge: Arc<Edge>,
) -> std::io::Result<actix_web::dev::Server> {
    let workers = options::workers(config);
    let shedder = edge.clone();
    let app = move || transport::app(edge.clone());
    let options = listener::Options {
        listener: "public",
        workers,
        connections_max: connections_max.div_ceil(workers),
        places: listener::Places::Parts {
            connections: options.shares.connections.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
        },
        buffers: options.shares.buffers.clone(),
        proxy_protocol: options::networks(&config.http.proxy_protocol),
        keep_alive: config.http.keep_alive,
        patience: config.http.request_timeout,
        shutdown_seconds: LINGER_SECONDS,
        tls,
        shedder,
    };
    listener::serve(options, listener, app)
}

/// The check that `/readyz` names as failing before the node serves.
fn not_ready(config: &Config) -> &'static str {
    if config.cluster.join {
        "waiting_to_be_added"
    } else if config.cluster.members.len() > 1 {
        "waiting_for_members"
    } else {
        "starting"
    }
}

async fn upkeep(metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}

fn about(config: &Config) -> About {
    let name = match config.node.name.as_str() {
        "" => format!("node-{}", config.node.id),
        name => name.to_owned(),
    };
    About { id: config.node.id, name, edition: config.edition.name.as_str() }
}

/// Binds through tokio's socket, which takes a backlog; the standard library's does not.
fn bind(address: SocketAddr, backlog: u32, key: &'static str) -> Result<TcpListener, Error> {
    let bound = || {
        let socket = if address.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)?.into_std()
    };
    bound().map_err(|error| Error::Listen { address, key, error })
}

/// What others call: as configured, or the address that was bound.
fn url(configured: &str, scheme: &str, bound: SocketAddr) -> String {
    if configured.is_empty() {
        format!("{scheme}://{bound}")
    } else {
        let configured = configured.trim_end_matches('/');
        let (scheme, rest) = configured.split_once("://").unwrap_or((scheme, configured));
        format!("{}://{rest}", scheme.to_ascii_lowercase())
    }
}

/// Under which address peers reach this node, as far as it is configured.
pub(crate) fn advertised(config: &Config) -> Option<String> {
    options::advertised(config)
}

/// Where the data is: as configured, or under the user's data home (XDG Base Directory Specification 0.8).
pub(crate) fn data_dir(config: &Config, environment: &Environment) -> Result<PathBuf, Error> {
    if !config.node.data_dir.as_os_str().is_empty() {
        return Ok(config.node.data_dir.clone());
    }
    let absolute = |path: &&str| path.starts_with('/');
    let home = match environment.get("XDG_DATA_HOME").filter(absolute) {
        Some(data_home) => PathBuf::from(data_home),
        None => PathBuf::from(environment.get("HOME").ok_or(Error::Homeless)?).join(".local/share"),
    };
    Ok(home.join("conclave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| (*name, *value)).collect()
    }

    #[test]
    fn data_has_a_home() {
        let mut config = Config::default();
        let both = environment(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/me")]);
        assert_eq!(data_dir(&config, &both).unwrap(), PathBuf::from("/data/conclave"));
        let relative = environment(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/me")]);
        assert_eq!(data_dir(&config, &relative).unwrap(), PathBuf::from("/home/me/.local/share/conclave"));
        assert!(matches!(data_dir(&config, &environment(&[])), Err(Error::Homeless)));
        config.node.data_dir = "/elsewhere".into();
        assert_eq!(data_dir(&config, &both).unwrap(), PathBuf::from("/elsewhere"));
    }

    #[tokio::test]
    async fn a_taken_port_names_its_key() {
        let taken = bind("127.0.0.1:0".parse().unwrap(), 16, "http.listen").unwrap();
        let error = bind(taken.local_addr().unwrap(), 16, "admin.listen").unwrap_err();
        assert!(error.to_string().contains("admin.listen"), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
    }
}
