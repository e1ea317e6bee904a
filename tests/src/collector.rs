//! A collector that takes traces by OTLP over HTTP, as protobuf.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::builder::Builder;
use crate::wait::eventually;

/// For whatever should come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A span, and the service that it is of.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The span.
    pub span: Span,
    service: Vec<KeyValue>,
}

impl Taken {
    /// An attribute of the span, as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    /// An attribute of the service, as text.
    pub fn service(&self, key: &str) -> Option<String> {
        text(&self.service, key)
    }
}

/// The collector. It ends when this is dropped.
pub struct Collector {
    address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Inbox {
    /// Requests that are refused first.
    refused: usize,
    requests: usize,
    taken: Vec<Taken>,
}

impl Collector {
    /// A collector that answers so many requests with 503 before it takes any.
    pub async fn start(refused: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let inbox = Arc::new(Mutex::new(Inbox { refused, ..Inbox::default() }));
        let shared = inbox.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, shared.clone()));
            }
        });
        Self { address, inbox, task }
    }

    /// Has the nodes send their traces here.
    pub fn told_by(&self, builder: Builder) -> Builder {
        builder
            .set("telemetry.otlp_endpoint", &format!("http://{}/v1/traces", self.address))
            .set("telemetry.otlp_allow_private", "true")
    }

    /// The first span that fits, once it is there.
    pub async fn until(&self, what: &str, fits: impl Fn(&Taken) -> bool) -> Taken {
        eventually(PATIENCE, what, async || self.taken().into_iter().find(&fits)).await
    }

    /// All that was taken.
    pub fn taken(&self) -> Vec<Taken> {
        self.inbox.lock().expect("nobody panics while holding it").taken.clone()
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.inbox.lock().expect("nobody panics while holding it").requests
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(mut stream: TcpStream, inbox: Arc<Mutex<Inbox>>) {
    // Who goes away in the middle of a request said nothing.
    let Ok((head, body)) = read(&mut stream).await else { return };
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let request = ExportTraceServiceRequest::decode(&body[..]).expect("a body is a request for export");
    let status = {
        let mut inbox = inbox.lock().expect("nobody panics while holding it");
        inbox.requests += 1;
        if inbox.requests > inbox.refused {
            for resource in request.resource_spans {
                let service = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                inbox.taken.extend(spans.map(|span| Taken { span, service: service.clone() }));
            }
            "200 OK"
        } else {
            "503 So"
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).await?;
    Ok((head, body))
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone() {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}
