//! Making spans.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanExporter as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::collector::{Collector, Failure};
use super::export::{self, Exporter, Queue};
use super::{Error, Options, Parent, Request};

/// The variable by which the service's name is set instead of ours.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// The traces of a node. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

/// The span of one request. It ends when it is dropped, whether the request was answered or given up.
#[derive(Debug)]
pub struct RequestSpan(Option<Span>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    /// Spans are recorded only while it lives.
    _provider: SdkTracerProvider,
    queue: Queue,
    closing: watch::Sender<bool>,
    // A std mutex: nothing is awaited while it is held.
    export: Mutex<Export>,
}

#[derive(Debug)]
enum Export {
    Ready(Box<Exporter>),
    Runs(JoinHandle<()>),
    Over,
}

impl Traces {
    /// Reads the authorities. Nothing is sent before [`Traces::start`].
    ///
    /// # Errors
    /// If a file or a variable cannot be used.
    pub fn new(options: Option<Options>) -> Result<Self, Error> {
        let Some(options) = options else { return Ok(Self::default()) };
        let failure = Failure::default();
        let collector = Collector::new(&options, failure.clone())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(options.url.to_string())
            .with_protocol(Protocol::HttpBinary)
            // It would block the thread; the exporter's task retries.
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        let mut exporter = exporter.map_err(|error| Error::Exporter(error.to_string()))?;
        let resource = resource(options.node);
        exporter.set_resource(&resource);
        let (queue, spans) = export::queue();
        let provider =
            SdkTracerProvider::builder().with_span_processor(queue.clone()).with_resource(resource).build();
        let endpoint = options.url.origin();
        let exporter = Exporter { endpoint, spans, exporter, failure, given_up: queue.given_up() };
        Ok(Self(Some(Arc::new(Inner {
            tracer: provider.tracer("conclave"),
            _provider: provider,
            queue,
            closing: watch::Sender::new(false),
            export: Mutex::new(Export::Ready(Box::new(exporter))),
        }))))
    }

    /// Sends spans from now on, on the runtime that this is called on.
    pub fn start(&self) {
        let Some(inner) = &self.0 else { return };
        inner.change(|export| match export {
            Export::Ready(exporter) => Export::Runs(tokio::spawn(exporter.run(inner.closing.subscribe()))),
            other => other,
        });
    }

    /// Begins the span of a request, perhaps as a part of its caller's trace.
    pub fn begin(&self, parent: Option<Parent>, request: Request<'_>) -> RequestSpan {
        let Some(inner) = &self.0 else { return RequestSpan(None) };
        let Request { route, method, id } = request;
        let parent = parent.map_or_else(Context::new, |parent| {
            let (trace, span) = (TraceId::from(parent.trace), SpanId::from(parent.span));
            let (flags, state) = (TraceFlags::new(parent.flags), TraceState::default());
            Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
        });
        let attributes = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
            KeyValue::new("conclave.request_id", id.to_owned()),
        ];
        let span = inner.tracer.span_builder(format!("{method} {route}"));
        let span = span.with_kind(SpanKind::Server).with_attributes(attributes);
        RequestSpan(Some(span.start_with_context(&inner.tracer, &parent)))
    }

    /// Sends the spans that wait; those not accepted within this time are lost.
    pub async fn flush(&self, within: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.closing.send_replace(true);
        let mut running = None;
        inner.change(|export| {
            if let Export::Runs(task) = export {
                running = Some(task);
            }
            Export::Over
        });
        let Some(mut running) = running else { return };
        if tokio::time::timeout(within, &mut running).await.is_err() {
            running.abort();
            // It ends where it waits; until then it holds spans that are not counted yet.
            let _ = running.await;
            let left = inner.queue.given_up().count();
            tracing::warn!(left, "shutdown timed out: spans were lost on their way to the collector");
        }
    }
}

impl Inner {
    fn change(&self, with: impl FnOnce(Export) -> Export) {
        let mut export = self.export.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *export, Export::Over);
        *export = with(before);
    }
}

impl RequestSpan {
    /// The request was answered.
    pub fn end(self, status: u16) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn resource(node: u64) -> Resource {
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", node.to_string()),
    ]);
    let is_named = std::env::var_os(SERVICE_NAME).is_some_and(|name| !name.is_empty());
    if is_named { resource.build() } else { resource.with_service_name("conclave").build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request { route: "/health", method: "GET", id: "r-1" };

    fn traces() -> Traces {
        let url = "http://127.0.0.1:9/v1/traces".parse().unwrap();
        Traces::new(Some(Options { url, authorities: None, allow_private: true, node: 1 })).unwrap()
    }

    fn given_up(traces: &Traces) -> usize {
        traces.0.as_ref().unwrap().queue.given_up().count()
    }

    fn waiting(traces: &Traces) -> usize {
        traces.0.as_ref().unwrap().queue.waiting_count()
    }

    #[test]
    fn a_span_waits_from_its_end_on_and_a_caller_may_want_none() {
        let traces = traces();
        let span = traces.begin(None, REQUEST);
        assert_eq!(waiting(&traces), 0);
        span.end(200);
        assert_eq!(waiting(&traces), 1);
        drop(traces.begin(None, REQUEST));
        assert_eq!(waiting(&traces), 2, "one that is given up ends, too");
        let unsampled = Parent { trace: 7, span: 7, flags: 0 };
        traces.begin(Some(unsampled), REQUEST).end(200);
        assert_eq!(waiting(&traces), 2);
    }

    #[test]
    fn no_more_spans_wait_than_there_is_room_for() {
        let traces = traces();
        for _ in 0..export::SPANS_MAX + 10 {
            traces.begin(None, REQUEST).end(200);
        }
        assert_eq!(waiting(&traces), export::SPANS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_ends_in_time_though_nobody_takes_anything() {
        let traces = traces();
        traces.start();
        traces.begin(None, REQUEST).end(200);
        traces.begin(None, REQUEST).end(200);
        traces.flush(Duration::from_secs(1)).await;
        assert_eq!((waiting(&traces), given_up(&traces)), (0, 2));
        traces.begin(None, REQUEST).end(200);
        assert_eq!(
            (waiting(&traces), given_up(&traces)),
            (0, 3),
            "a span that ends afterwards is lost, and counted"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_exporter_ever_took_is_given_up_with_it() {
        let traces = traces();
        traces.begin(None, REQUEST).end(200);
        traces.flush(Duration::from_secs(1)).await;
        assert_eq!((waiting(&traces), given_up(&traces)), (0, 1));
    }
}
