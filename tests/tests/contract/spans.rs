//! Traces that nodes send to a collector; with the feature `otlp` alone.

use conclave_tests::cluster::Cluster;
use conclave_tests::collector::{Collector, Taken};
use conclave_tests::relay::{Pair, word};
use conclave_tests::wait::eventually;
use tokio::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn is_of(id: &str) -> impl Fn(&Taken) -> bool {
    move |taken| taken.attribute("conclave.request_id").as_deref() == Some(id)
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace_with_its_route_and_no_secret() {
    let collector = Collector::start(0).await;
    let cluster = collector.told_by(Cluster::builder().unmetered()).start().await;
    let (pair, id) = (Pair::fresh(), word("request"));
    let call = cluster.follower().await.relay(&pair.send(0, 1, "AAEC"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    call.header("traceparent", parent).header("x-request-id", &id).send().await.ok();
    let taken = collector.until("the span", is_of(&id)).await;
    assert_eq!(taken.span.name, "POST /api/relay");
    // A server's.
    assert_eq!(taken.span.kind, 2);
    assert_eq!(taken.span.trace_id, 0x4bf92f3577b34da6a3ce929d0e0e4736_u128.to_be_bytes());
    assert_eq!(taken.span.parent_span_id, 0x00f067aa0ba902b7_u64.to_be_bytes());
    assert!(taken.span.end_time_unix_nano > taken.span.start_time_unix_nano);
    for (key, value) in
        [("http.request.method", "POST"), ("http.route", "/api/relay"), ("http.response.status_code", "200")]
    {
        assert_eq!(taken.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(taken.service("service.name").as_deref(), Some("conclave"));
    assert!(taken.service("service.instance.id").is_some());
    assert!(!format!("{:?}", collector.taken()).contains(&pair.pin));
}

#[tokio::test]
async fn what_nobody_samples_is_not_sent_and_what_fails_is_marked() {
    let collector = Collector::start(0).await;
    let cluster = collector.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    let (unsampled, missing) = (word("request"), word("request"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let call = cluster.api(1).get("/health").header("traceparent", parent);
    call.header("x-request-id", &unsampled).send().await.ok();
    let path = format!("/{}", word("secret"));
    let call = cluster.api(1).get(&path).header("x-request-id", &missing);
    call.send().await.status(404);
    let taken = collector.until("the second", is_of(&missing)).await;
    assert_eq!(taken.attribute("http.route").as_deref(), Some("other"));
    assert_eq!(taken.attribute("http.response.status_code").as_deref(), Some("404"));
    assert!(!collector.taken().iter().any(is_of(&unsampled)));
    assert!(!format!("{:?}", collector.taken()).contains("secret-"));
}

#[tokio::test]
async fn spans_come_again_and_are_sent_before_a_node_ends() {
    let collector = Collector::start(2).await;
    let mut cluster = collector.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    let (first, last) = (word("request"), word("request"));
    cluster.api(1).get("/health").header("x-request-id", &first).send().await.ok();
    collector.until("it is taken", is_of(&first)).await;
    assert!(collector.requests() >= 3);
    cluster.api(1).get("/health").header("x-request-id", &last).send().await.ok();
    assert_eq!(cluster.terminate(1).await, Some(0));
    assert!(collector.taken().iter().any(is_of(&last)));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_holds_up_nobody() {
    let collector = Collector::start(usize::MAX).await;
    let cluster = collector.told_by(Cluster::builder().nodes(1).unmetered()).start().await;
    cluster.api(1).get("/health").send().await.ok();
    let lost = "conclave_trace_spans_lost_total{reason=\"failed\"} ";
    eventually(PATIENCE, "spans are given up", async || {
        let page = cluster.admin(1).get("/metrics").send().await.text();
        let count = page.lines().find_map(|line| line.strip_prefix(lost));
        (count.expect("it is there from the start") != "0").then_some(())
    })
    .await;
    let said = cluster.says(1, "spans were lost: the collector does not take them").await;
    assert!(said.contains("it answered 503"));
    cluster.api(1).get("/health").send().await.ok();
}
