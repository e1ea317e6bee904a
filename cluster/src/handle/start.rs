//! How a node starts: it listens for peers, opens its log, and finds or founds its cluster.

use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::beacon::Beacons;
use super::clock::Consensus;
use super::datagram::Datagrams;
use super::founding::{BeforeRaft, Foundings};
use super::host::Listeners;
use super::interest::Interests;
use super::leader_loss::LeaderLoss;
use super::paths::{Common, Paths};
use super::quorum::Quorum;
use super::read_charges::ReadCharges;
use super::read_index::ReadIndex;
use super::removal::Removal;
use super::routes::Routes;
use super::sequencer::Sequencer;
use super::table::seats_of;
use super::tokens::Tokens;
use super::topology::Topology;
use super::{Cluster, Inner, Options, StartError, World, bootstrap, limits, peer_permissions, service};
use crate::raft::Node;
use crate::raft::disk_traits::Member;
use crate::state::State;
use crate::state::slot::CellId;
use crate::wire::{self, Links};

impl Cluster {
    /// Starts a node: listens for peers, opens its log, and finds or founds its cluster.
    ///
    /// Returns once the node takes part. It may have no leader yet: see [`Cluster::ready`].
    pub async fn start(options: Options, world: World) -> Result<Self, StartError> {
        Self::start_boxed(options, world).await
    }

    /// [`Cluster::start`] behind a pointer. The body of an async function is compiled in every crate that awaits it, and
    /// this one holds all tasks of a node.
    #[inline(never)]
    fn start_boxed(options: Options, world: World) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(Self::assemble(options, world))
    }

    async fn assemble(mut options: Options, world: World) -> Result<Self, StartError> {
        #[cfg(feature = "doubles")]
        crate::doubles::announce();
        let World { transport, clock, disk, seed } = world;
        let listener = transport.listen(&options.listen).await;
        let listener =
            listener.map_err(|error| StartError::Listen { address: options.listen.clone(), error })?;
        options.bind_port(&*listener)?;
        let clock = Arc::new(Consensus::new(clock));
        let mut wire = wire::Options::new(options.node_id, options.cluster_name.clone(), seed);
        wire.tls = options.tls.clone();
        wire.secrets = options.secrets.clone();
        wire.storage = disk.storage;
        let links = Links::new(wire, transport);
        let (storage, blank) = (disk.storage, disk.is_blank());
        let (seats, fronts) = bootstrap::first_places(&options);
        let before = BeforeRaft {
            blank,
            members: options.members.keys().copied().collect(),
            seats: seats.keys().copied().collect(),
        };
        let service = service::Service::new(clock.clone(), before);
        links.serve(listener, service.clone());

        // A front founds nothing: that its id is bound to another disk it hears from the leader.
        if blank && options.members.len() > 1 && seats.contains_key(&options.node_id) {
            bootstrap::ask_others(&links, options.node_id, storage, &options.members, &seats).await?;
        }
        let snapshot_bytes_max = limits::snapshot_bytes_max(options.rules.storage_bytes_max);
        let node =
            Node::start(options.node_id, options.timing, snapshot_bytes_max, disk, links.clone()).await;
        let node = node?;
        let stop = CancellationToken::new();
        let sequencer = Arc::new(Sequencer::new(node.clone(), links.clone(), clock.clone(), options.rules));
        // Of this node's own cell, whichever that will be.
        let quorum = Quorum::new();
        // One whose log does not say yet which slots its cell holds takes its seat when it does.
        let begun = node.cell() == Some(CellId::FIRST) || node.replica().read(State::has_moved_slots);
        let seated = (node.votes() && begun) || seats.contains_key(&options.node_id);
        let configured = seats.iter().chain(&fronts).map(|(id, at)| (*id, at.clone())).collect();
        let topology = Topology::new(node.clone(), configured, seated);
        let (routes, interests) = (Arc::new(Routes::new()), Interests::new());
        let read_charges = Arc::new(ReadCharges::new(
            node.replica().clone(),
            topology.clone(),
            routes.clone(),
            clock.clone(),
        ));
        let paths = Paths::new(Common {
            node: node.clone(),
            links: links.clone(),
            topology: topology.clone(),
            sequencer: sequencer.clone(),
            read_charges: read_charges.clone(),
            interests: interests.clone(),
            backlog: Arc::default(),
            deadline: options.deadline,
            seed,
            stop: stop.clone(),
        });
        let read_index = Arc::new(ReadIndex::new(
            node.clone(),
            node.lead(),
            links.clone(),
            clock.clone(),
            quorum.clone(),
            options.deadline,
        ));
        let datagrams = Datagrams::new(links.clone(), stop.clone());
        let leader_loss = LeaderLoss::new(node.clone(), links.clone(), options.timing.election_max);
        let strangers = peer_permissions::Strangers::default();
        let inner = Inner {
            options,
            node,
            links,
            clock,
            sequencer,
            read_charges,
            paths,
            routes,
            interests,
            tokens: Tokens::new(seed),
            read_index,
            topology,
            founds_cell: OnceLock::new(),
            moved: Notify::new(),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            beacons: Beacons::default(),
            changing: tokio::sync::Mutex::default(),
            listeners: Listeners::default(),
            datagrams,
            leader_loss,
            strangers,
            foundings: Foundings::default(),
            removal: Removal::default(),
            shown_cells: Mutex::default(),
            stop,
        };
        let inner = Arc::new(inner);
        inner.clock.open(&inner);
        service.open(&inner);
        tokio::spawn(inner.sequencer.clone().run(inner.stop.clone()));
        tokio::spawn(inner.read_index.clone().run(inner.stop.clone()));
        tokio::spawn(inner.topology.clone().run(inner.read_index.clone(), inner.stop.clone()));
        // Everybody has something to say to the first cell.
        inner.paths.to(CellId::FIRST);
        tokio::spawn(inner.clone().send_beacons());
        tokio::spawn(inner.clone().follow_plan());
        tokio::spawn(inner.clone().move_slots());
        let (members, leads) = (inner.node.clone(), inner.node.clone());
        tokio::spawn(quorum.run(
            inner.options.node_id,
            inner.links.clone(),
            move || seats_of(&members),
            move |silence_max| leads.is_led_within(silence_max),
            inner.stop.clone(),
        ));
        tokio::spawn(inner.leader_loss.clone().run(inner.stop.clone()));
        tokio::spawn(inner.clone().tick());
        tokio::spawn(inner.clone().watch_founding(storage));
        tokio::spawn(inner.clone().watch_removal());

        let this = Self { inner };
        let inner = &this.inner;
        if seats.contains_key(&inner.options.node_id) && !inner.node.is_initialized().await {
            let members = seats.into_iter().map(|(id, peer)| (id, Member::new(peer, CellId::FIRST)));
            inner.node.initialize(members.collect()).await?;
        }
        let known = !inner.node.members().1.is_empty();
        inner.compare_addresses();
        if let Err(error) = bootstrap::enroll(inner, storage, blank).await {
            this.stop().await;
            return Err(error);
        }
        if !known {
            // Added just now, at an address that somebody typed.
            this.inner.compare_addresses();
        }
        Ok(this)
    }
}
