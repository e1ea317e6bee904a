//! Nodes with an echo for a service, and a network of pipes for tests that need a paused clock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::wire::{
    Error, Frame, Lane, Links, Listener, Options, Outgoing, PeerHealth, PeerId, Service, Tcp, Transport,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::pipes::Pipes;

/// Long enough that only a defect lets it pass.
pub const SOON: Duration = Duration::from_secs(10);

/// A service made of a function that returns a future.
struct Answers<F>(F);

impl<F, A> Service for Answers<F>
where
    F: Fn(PeerId, Frame) -> A + Send + Sync + 'static,
    A: Future<Output = Outgoing> + Send + 'static,
{
    fn serve(&self, from: PeerId, request: Frame) -> BoxFuture<'static, Outgoing> {
        (self.0)(from, request).boxed()
    }

    fn note(&self) -> u64 {
        4711
    }
}

/// A service made of a function.
pub fn service<F, A>(serve: F) -> Arc<dyn Service>
where
    F: Fn(PeerId, Frame) -> A + Send + Sync + 'static,
    A: Future<Output = Outgoing> + Send + 'static,
{
    Arc::new(Answers(serve))
}

/// Answers with what was asked.
pub fn echo() -> Arc<dyn Service> {
    service(|_, request| async { answer(request) })
}

/// The same kind, cell, header and payload again.
pub fn answer(request: Frame) -> Outgoing {
    let Frame { kind, cell, header, payload } = request;
    Outgoing { kind, cell, header: header.to_vec(), payload: vec![payload] }
}

/// A small request of a kind.
pub fn request(kind: u8) -> Outgoing {
    Outgoing { kind, cell: 0, header: b"header".to_vec(), payload: Vec::new() }
}

/// A request with this many bytes of payload.
pub fn large(kind: u8, bytes: usize) -> Outgoing {
    Outgoing { payload: vec![Bytes::from(vec![kind; bytes])], ..request(kind) }
}

/// The options of node `id` in the cluster of the tests.
pub fn options(id: PeerId) -> Options {
    Options::new(id, "blue", id)
}

/// A node that listens.
pub struct Node {
    pub links: Links,
    pub address: String,
    pub id: PeerId,
}

impl Node {
    /// On a free port of this machine.
    pub async fn start(options: Options, service: Arc<dyn Service>) -> Self {
        Self::start_on("127.0.0.1:0", options, service).await
    }

    /// On a given port of this machine.
    pub async fn start_on(address: &str, options: Options, service: Arc<dyn Service>) -> Self {
        let listener = Tcp.listen(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::new(options, Arc::new(Tcp), address, listener, service)
    }

    /// On a network of pipes.
    pub async fn start_in(pipes: &Pipes, options: Options, service: Arc<dyn Service>) -> Self {
        let address = format!("node-{}", options.node_id);
        let listener = pipes.listen(&address).await.unwrap();
        Self::new(options, Arc::new(pipes.clone()), address, listener, service)
    }

    fn new(
        options: Options,
        transport: Arc<dyn Transport>,
        address: String,
        listener: Box<dyn Listener>,
        service: Arc<dyn Service>,
    ) -> Self {
        let id = options.node_id;
        let links = Links::new(options, transport);
        links.serve(listener, service);
        Self { links, address, id }
    }

    /// Calls another node from this one.
    pub async fn call(&self, other: &Node, lane: Lane, request: Outgoing) -> Result<Frame, Error> {
        self.call_within(SOON, other, lane, request).await
    }

    /// Calls another node from this one, and waits so long.
    pub async fn call_within(
        &self,
        timeout: Duration,
        other: &Node,
        lane: Lane,
        request: Outgoing,
    ) -> Result<Frame, Error> {
        self.links.call(other.id, &other.address, lane, request, timeout).await
    }

    /// How this node's link to another is.
    pub fn health(&self, other: &Node, lane: Lane) -> PeerHealth {
        let mut peers = self.links.peers().into_iter();
        peers.find(|health| (health.peer, health.lane) == (other.id, lane)).unwrap()
    }
}

/// Two nodes of one service.
pub async fn pair(service: Arc<dyn Service>) -> (Node, Node) {
    (Node::start(options(1), service.clone()).await, Node::start(options(2), service).await)
}

/// A service that answers nothing until the gate gets permits, then one request a permit.
pub fn gated() -> (Arc<Semaphore>, Arc<dyn Service>) {
    let gate = Arc::new(Semaphore::new(0));
    let inside = gate.clone();
    let service = service(move |_, request| {
        let gate = inside.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            answer(request)
        }
    });
    (gate, service)
}

/// Asks until it is so.
pub async fn until<F: Future<Output = bool>>(mut ask: impl FnMut() -> F) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it comes true in time");
}
