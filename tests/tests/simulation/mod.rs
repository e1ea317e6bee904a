//! Whole clusters in a simulated world: network, disks, clocks and chance come from a seed, everything that can go
//! wrong does, and what must be true whatever goes wrong is checked.
//!
//! A simulation is a pure function of its seed: see [`replay`].

mod clock;
mod disk;
mod doubles;
mod faults;
mod history;
mod invariants;
mod machine;
mod net;
mod oracle;
mod plan;
mod run;
mod workload;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use invariants::Violation;
use plan::{Double, Plan};
use run::{Failure, Report, run};

/// Seeds of an ordinary test run; CI sets `CONCLAVE_SEEDS` to more.
const SEEDS: u64 = 60;
/// Simulations at a time.
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

thread_local! {
    /// What runs on this thread.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs a plan; a panic inside it is a violation, too.
fn caught(plan: Plan) -> Result<Report, Failure> {
    static HOOK: Once = Once::new();
    // A panic in the middle of a simulated runtime may end the process before anybody can catch it.
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(seed) = RUNNING.get() {
                eprintln!("a node panics on seed {seed}: {}", replay_command(seed));
            }
            before(panic);
        }));
    });
    RUNNING.set(Some(plan.seed));
    let result = catch_unwind(AssertUnwindSafe(|| run(plan)));
    RUNNING.set(None);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violation = Violation::new("no node panics", text.unwrap_or_default());
        Err(Failure { violation, faults: Vec::new() })
    })
}

/// The real thing, all invariants minded.
fn simulated(seed: u64) -> Result<Report, Failure> {
    caught(Plan::new(seed, Double::None, None))
}

fn replay_command(seed: u64) -> String {
    format!("CONCLAVE_SEED={seed} cargo test -p conclave-tests simulation::replay -- --nocapture")
}

/// What a person needs who wants to know what happened.
fn describe(seed: u64, failure: &Failure) -> String {
    let Failure { violation, faults } = failure;
    let before: String = faults.iter().rev().take(30).rev().map(|line| format!("\n    {line}")).collect();
    format!(
        "seed {seed} violates {}: {}\n  of {:?}, what was done:{before}\n  replay it: {}",
        violation.invariant,
        violation.context,
        Plan::new(seed, Double::None, None).shape,
        replay_command(seed)
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
                    if let Err(failure) = simulated(seed) {
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
    match simulated(seed) {
        Ok(report) => println!("seed {seed}: {report:?} of {:?}", Plan::new(seed, Double::None, None).shape),
        Err(failure) => panic!("{}", describe(seed, &failure)),
    }
}

/// Whatever ran before in this process, and beside it.
#[test]
fn a_seed_is_a_simulation() {
    let digest = |seed| match simulated(seed) {
        Ok(report) => report.digest,
        Err(failure) => panic!("{}", describe(seed, &failure)),
    };
    let seeds = [3, 4, 5, 6];
    let once = seeds.map(digest);
    let again = std::thread::scope(|scope| {
        let threads = seeds.map(|seed| scope.spawn(move || digest(seed)));
        threads.map(|thread| thread.join().expect("a seed that passed once passes again"))
    });
    assert_eq!(once, again, "seeds {seeds:?} do not replay");
}
