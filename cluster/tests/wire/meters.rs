//! What the links count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_cluster::wire::{Error, Lane, METERS, Options};
use futures_util::FutureExt;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::pipes::Pipes;
use crate::support::{Node, echo, options, request, until};

/// Keeps every value under `name` and the values of its labels.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Ledger {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}", label.value())).collect::<String>();
        self.0.lock().unwrap().entry(format!("{}{labels}", key.name())).or_default().clone()
    }

    fn value(&self, name: &str) -> u64 {
        self.0.lock().unwrap()[name].load(Ordering::Relaxed)
    }
}

impl Recorder for Ledger {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell(key);
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn connections_calls_and_the_circuit_are_counted() {
    let ledger = Ledger::default();
    let _guard = metrics::set_default_local_recorder(&ledger);
    let pipes = Pipes::default();
    let one = Node::start_in(&pipes, options(1), echo()).await;
    let two = Node::start_in(&pipes, options(2), echo()).await;
    let call = || one.call_within(Duration::from_secs(1), &two, Lane::Control, request(1));
    let value = |name: &str| ledger.value(&format!("conclave_link_{name}"));

    call().await.unwrap();
    assert_eq!((value("connects_total 2 control"), value("calls_total 2 control answered")), (1, 1));
    assert_eq!(call().now_or_never(), None);
    assert_eq!((value("calls_total 2 control answered"), value("calls_total 2 control dropped")), (1, 1));

    pipes.cut(true);
    pipes.freeze();
    until(async || call().await == Err(Error::CircuitOpen)).await;
    assert!(f64::from_bits(value("circuit_open 2 control")) > 0.5);
    assert!(value("calls_total 2 control circuit_open") == 1);
    pipes.cut(false);
    until(async || call().await.is_ok()).await;
    assert!(f64::from_bits(value("circuit_open 2 control")) < 0.5);
    assert_eq!((value("connects_total 2 control"), value("calls_total 2 control answered")), (2, 2));

    let red = Node::start_in(&pipes, Options::new(3, "red", 3), echo()).await;
    until(async || red.call(&two, Lane::Control, request(1)).await.is_err()).await;
    assert_eq!(ledger.value("conclave_peer_refusals_total cluster"), 1);

    let names = ledger.0.lock().unwrap();
    let named = |meter: &str| names.keys().any(|name| name.split(' ').next() == Some(meter));
    assert!(METERS.iter().all(|meter| named(meter.name)), "every listed metric is there");
    assert!(names.keys().all(|name| METERS.iter().any(|meter| name.starts_with(meter.name))), "and no other");
}
