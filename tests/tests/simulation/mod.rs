//! Whole clusters in a simulated world: network, disks, clocks and chance come from a seed, everything that can go
//! wrong does, and what must be true whatever goes wrong is checked.
//!
//! A simulation is a pure function of its seed: see [`replay`].

mod clock;
mod disk;
mod faults;
mod history;
mod invariants;
mod machine;
mod net;
mod plan;
mod run;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use invariants::Violation;
use plan::Double;
use run::{Failure, Report, run};

/// Seeds of an ordinary test run; CI sets `CONCLAVE_SEEDS` to more.
const SEEDS: u64 = 60;
/// Simulations at a time.
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Runs a seed; a panic inside it is a violation, too.
fn caught(seed: u64, double: Double) -> Result<Report, Failure> {
    catch_unwind(AssertUnwindSafe(|| run(seed, double))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violation = Violation::new("no node panics", text.unwrap_or_default());
        Err(Failure { violation, faults: Vec::new() })
    })
}

/// What a person needs who wants to know what happened.
fn describe(seed: u64, failure: &Failure) -> String {
    let Failure { violation, faults } = failure;
    let before: String = faults.iter().rev().take(30).rev().map(|line| format!("\n    {line}")).collect();
    format!(
        "seed {seed} violates {}: {}\n  what was done:{before}\n  replay it: CONCLAVE_SEED={seed} cargo test -p conclave-tests simulation::replay -- --nocapture",
        violation.invariant, violation.context
    )
}

#[test]
fn seeds() {
    let first = number("CONCLAVE_FIRST_SEED").unwrap_or(0);
    let count = number("CONCLAVE_SEEDS").unwrap_or(SEEDS);
    let surprise: u64 = rand::random();
    println!("the random seed is {surprise}");
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed = match number {
                        number if number < count => first + number,
                        number if number == count => surprise,
                        _ => return,
                    };
                    if let Err(failure) = caught(seed, Double::None) {
                        let text = describe(seed, &failure);
                        println!("{text}");
                        failures.lock().expect("nobody panics while holding it").push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("all threads are done");
    assert!(failures.is_empty(), "{} of {} seeds fail:\n{}", failures.len(), count + 1, failures.join("\n"));
}

/// Runs the one seed that `CONCLAVE_SEED` names.
#[test]
fn replay() {
    let seed = number("CONCLAVE_SEED").unwrap_or(0);
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test may have set one up.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).try_init();
    }
    match caught(seed, Double::None) {
        Ok(report) => println!("seed {seed}: {report:?}"),
        Err(failure) => panic!("{}", describe(seed, &failure)),
    }
}

#[test]
fn a_seed_is_a_simulation() {
    for seed in [3, 4] {
        let once = run(seed, Double::None).unwrap_or_else(|failure| panic!("{}", describe(seed, &failure)));
        let again = run(seed, Double::None).unwrap_or_else(|failure| panic!("{}", describe(seed, &failure)));
        assert_eq!(once, again, "seed {seed} does not replay");
    }
}
