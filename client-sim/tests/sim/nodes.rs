//! Listeners that stand for the nodes of a cluster.

use std::future::Future;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// They end when this is dropped.
pub(crate) struct Nodes {
    pub(crate) urls: Vec<String>,
    _tasks: JoinSet<()>,
}

impl Nodes {
    /// Starts so many. `answer` is told the node's number; an error of it drops the connection.
    pub(crate) async fn start<A, E>(
        count: usize,
        answer: impl Fn(usize, Request<Incoming>) -> A + Clone + Send + 'static,
    ) -> Self
    where
        A: Future<Output = Result<Response<Full<Bytes>>, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let (mut urls, mut tasks) = (Vec::new(), JoinSet::new());
        for node in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            let answer = answer.clone();
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let answer = answer.clone();
                    let service = service_fn(move |request| answer(node, request));
                    let http = http1::Builder::new();
                    let served = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
                    // An error is a client that went away, or a reply that was lost on purpose.
                    tokio::spawn(async move { _ = served.await });
                }
            });
        }
        Self { urls, _tasks: tasks }
    }
}
