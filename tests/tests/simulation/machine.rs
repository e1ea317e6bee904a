//! A simulated machine: a disk, a clock, and a node with its clients whenever the machine is up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use conclave_cluster::raft::Timing;
use conclave_cluster::state::incarnation::Incarnation;
use conclave_cluster::state::leader_rules::Rules;
use conclave_cluster::state::slot::CellId;
use conclave_cluster::{Cluster, Options, StartError, World};
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::disk::Platter;
use super::net::Net;
use super::plan::Double;
use super::workload::{Desk, GUESTS, owners};

/// Something to be done on a machine, with its node, while the machine stays up.
pub(crate) type Job = Box<dyn FnOnce(Cluster) -> Pin<Box<dyn Future<Output = ()>>>>;

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Switched off.
    Down,
    /// Its node looks for its cluster.
    Starting,
    /// Its node takes part.
    Up,
    /// Its node gave up: its disk failed. Somebody should start it again.
    Failed(String),
    /// Its node was refused. That should not happen here.
    Refused(String),
    /// Its node left in good order.
    Left,
}

pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) platter: Platter,
    pub(crate) condition: RefCell<Condition>,
    pub(crate) cluster: RefCell<Option<Cluster>>,
    /// Whether its node ever was sure that it was removed.
    pub(crate) believed_removed: Cell<bool>,
    /// Counts the starts.
    run: Cell<u64>,
    jobs: RefCell<Option<mpsc::UnboundedSender<Job>>>,
    /// Of the run under way.
    net: RefCell<Net>,
    desk: Rc<Desk>,
}

/// A machine's name in the network.
pub(crate) fn name(id: u64) -> String {
    format!("node-{id}")
}

/// Where its node is reached by its peers.
pub(crate) fn address(id: u64) -> String {
    format!("node-{id}:7000")
}

impl Machine {
    pub(crate) fn new(id: u64, desk: Rc<Desk>) -> Rc<Self> {
        let plan = &desk.plan;
        let platter = Platter::new(plan.rng(&[1, id]).random(), plan.flush_ms_max);
        Rc::new(Self {
            id,
            platter,
            condition: RefCell::new(Condition::Down),
            cluster: RefCell::default(),
            believed_removed: Cell::new(false),
            run: Cell::new(0),
            jobs: RefCell::default(),
            net: RefCell::default(),
            desk,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.condition.borrow() == Condition::Up
    }

    /// Whether its node leads the cell in which it sits, by its own account.
    pub(crate) fn leads(&self) -> bool {
        let cluster = self.cluster.borrow();
        let leader = cluster.as_ref().and_then(|cluster| cluster.leader_of(cluster.cell()?));
        leader == Some(self.id)
    }

    /// The cell in which its node sits, if it sits in one.
    pub(crate) fn cell(&self) -> Option<CellId> {
        self.cluster.borrow().as_ref().and_then(Cluster::cell)
    }

    /// Has something done on it, if it is up.
    pub(crate) fn post(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.borrow() {
            // One that is going down takes its jobs with it.
            let _ = jobs.send(job);
        }
    }

    /// Ends its connections and tells the peers, as when its process is killed.
    pub(crate) fn hang_up(&self) {
        let net = self.net.borrow().clone();
        self.post(Box::new(move |_| Box::pin(async move { net.cut() })));
    }

    /// Refuses its connections to a node, whatever that node does; or to none.
    pub(crate) fn refuse(&self, id: Option<u64>) {
        self.net.borrow().refuse(id.map(address));
    }

    /// Ends what connections it has left, without a word to anybody. To be called before its runtime is torn down.
    pub(crate) fn unplug(&self) {
        self.net.borrow().cut();
    }

    /// Forgets the run that is over. Its tasks must be gone already.
    pub(crate) fn switched_off(&self) {
        *self.condition.borrow_mut() = Condition::Down;
        self.jobs.borrow_mut().take();
        self.cluster.borrow_mut().take();
        self.platter.crash();
    }

    /// What runs on it from when it is switched on.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        let run = self.run.replace(self.run.get() + 1);
        *self.condition.borrow_mut() = Condition::Starting;
        let (sender, mut jobs) = mpsc::unbounded_channel();
        *self.jobs.borrow_mut() = Some(sender);
        let net = Net::default();
        *self.net.borrow_mut() = net.clone();
        let world = World {
            transport: Arc::new(net),
            clock: Arc::new(self.desk.plan.clocks[&self.id]),
            disk: self.platter.open(),
            seed: self.desk.plan.rng(&[2, self.id, run]).random(),
        };
        let cluster = match Cluster::start(self.options(), world).await {
            Ok(cluster) => cluster,
            Err(StartError::Removed(_)) => {
                self.believed_removed.set(true);
                return std::future::pending().await;
            }
            Err(error) => {
                *self.condition.borrow_mut() = Condition::Refused(error.to_string());
                return std::future::pending().await;
            }
        };
        *self.cluster.borrow_mut() = Some(cluster.clone());
        *self.condition.borrow_mut() = Condition::Up;
        for number in 0..self.desk.plan.clients {
            let rng = self.desk.plan.rng(&[3, self.id, run, number]);
            spawn_local(self.desk.clone().client(cluster.clone(), rng));
        }
        let incarnation = Incarnation { node: self.id, run: self.desk.plan.rng(&[5, self.id, run]).random() };
        spawn_local(self.desk.clone().keep_host(cluster.clone(), incarnation));
        for number in 0..GUESTS {
            let rng = self.desk.plan.rng(&[6, self.id, run, number]);
            spawn_local(self.desk.clone().guest(cluster.clone(), incarnation, rng));
        }
        spawn_local(self.desk.clone().watch(cluster.clone(), self.desk.plan.rng(&[7, self.id, run])));
        spawn_local(self.desk.clone().write_watched(cluster.clone(), self.desk.plan.rng(&[8, self.id, run])));
        let failed = cluster.failed();
        tokio::pin!(failed);
        loop {
            tokio::select! {
                biased;
                why = &mut failed => {
                    if *self.condition.borrow() == Condition::Up {
                        *self.condition.borrow_mut() = Condition::Failed(why);
                    }
                    return std::future::pending().await;
                }
                () = cluster.removed(), if !self.believed_removed.get() => self.believed_removed.set(true),
                Some(job) = jobs.recv() => {
                    spawn_local(job(cluster.clone()));
                }
            }
        }
    }

    fn options(&self) -> Options {
        let plan = &self.desk.plan;
        let first = plan.shape.first();
        let members: BTreeMap<u64, String> = first.clone().map(|id| (id, address(id))).collect();
        Options {
            node_id: self.id,
            cluster_name: "simulated".to_owned(),
            listen: "0.0.0.0:7000".to_owned(),
            advertise: address(self.id),
            members: if first.contains(&self.id) { members } else { BTreeMap::new() },
            replicas: plan.shape.replicas,
            rules: Rules {
                storage_bytes_max: match plan.double {
                    Double::StoresAnything => u64::MAX,
                    _ => plan.storage_bytes_max,
                },
                shares: match plan.double {
                    Double::SharesNothing => None,
                    _ => owners::shares(plan),
                },
                ..Rules::default()
            },
            deadline: plan.deadline,
            http_url: String::new(),
            admin_url: String::new(),
            timing: Timing { snapshot_log_bytes: plan.snapshot_log_bytes, ..Timing::default() },
            slot_part_bytes: plan.slot_part_bytes,
            tls: None,
            secrets: None,
            loopback_only: false,
        }
    }
}
