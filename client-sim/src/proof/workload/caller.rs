//! One client: it asks one thing at a time and has everything taken down.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::Workload;
use super::words::Words;
use crate::client::{self, Client, Fault, Reply, Request};
use crate::content::mix;
use crate::proof::Family;
use crate::proof::history::{Answer, Begun, Outcome, Wish};

/// A client and its connections.
pub(super) struct Caller {
    workload: Arc<Workload>,
    pub(super) rng: SmallRng,
    client: Client,
    number: u32,
    at: usize,
    resume: Instant,
}

/// For one try of what is tried more than once.
const TRY: Duration = Duration::from_secs(2);
/// Before a node that refused a connection is asked again, if there is no other.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest `Retry-After` that is followed to the letter.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// A try that brought no answer.
struct Failed {
    code: Box<str>,
    /// Whether it may have been carried out all the same.
    perhaps: bool,
    pause: Duration,
}

impl Caller {
    pub(super) fn new(workload: Arc<Workload>, number: u32) -> Self {
        let options = client::Options {
            timeout: workload.options.deadline,
            patience: workload.options.deadline,
            idempotent: false,
        };
        let name = format!("{:x}-{number:x}", workload.run);
        let client = Client::new(&workload.options.targets, options, workload.tally.clone(), name);
        let rng = SmallRng::seed_from_u64(mix(workload.options.seed ^ mix(number.into())));
        Self { workload, rng, client, number, at: number as usize, resume: Instant::now() }
    }

    /// Makes names unlike those of other runs against the same servers.
    pub(super) fn run(&self) -> u64 {
        self.workload.run
    }

    /// A number unlike any other of this run.
    pub(super) fn fresh(&self) -> u64 {
        self.workload.number()
    }

    /// How many nodes there are.
    pub(super) fn targets(&self) -> usize {
        self.client.targets()
    }

    /// Waits for as long as a server asked for.
    pub(super) async fn heed_pause(&self) {
        tokio::time::sleep_until(self.resume).await;
    }

    /// Asks the node whose turn it is.
    pub(super) async fn ask(
        &mut self,
        family: Family,
        key: &Arc<str>,
        wish: Wish,
        request: Request,
        read: impl Fn(&Reply) -> Answer,
    ) -> Outcome {
        let begun = self.begin(family, key, wish);
        let outcome = self.bring(&request, read).await;
        self.end(begun, outcome.clone());
        outcome
    }

    pub(super) fn begin(&self, family: Family, key: &Arc<str>, wish: Wish) -> Begun {
        self.workload.recorder.begin(family, key, self.number, wish).at(self.at % self.client.targets())
    }

    /// The key of what was asked is known only now.
    pub(super) fn name(&self, begun: &mut Begun, key: &Arc<str>) {
        self.workload.recorder.name(begun, key);
    }

    /// Nothing more will be asked about this key.
    pub(super) fn close(&self, key: &Arc<str>) {
        self.workload.recorder.close(key);
    }

    pub(super) fn end(&self, begun: Begun, outcome: Outcome) {
        self.workload.recorder.end(begun, self.at % self.client.targets(), outcome);
    }

    /// From now on asks this node, until it fails.
    pub(super) fn turn_to(&mut self, target: usize) {
        self.at = target;
    }

    /// A fresh name for a wish.
    pub(super) fn idempotency_key(&self) -> Option<HeaderValue> {
        let name = format!("{:x}-{:x}", self.run(), self.fresh());
        HeaderValue::from_str(&name).ok()
    }

    /// Sends a request and reads what comes back. One that has an `Idempotency-Key` is sent again under it, to other
    /// nodes, until there is an answer or the deadline has come.
    pub(super) async fn bring(&mut self, request: &Request, read: impl Fn(&Reply) -> Answer) -> Outcome {
        let give_up = Instant::now() + self.workload.options.deadline;
        let mut perhaps: Option<Box<str>> = None;
        loop {
            let failed = match self.attempt(request, give_up).await {
                Ok(reply) => {
                    let answer = read(&reply);
                    // An earlier try may yet find what this one did not.
                    return match perhaps {
                        Some(code) if leaves_nothing(&answer) => Outcome::Unknown(code),
                        Some(_) | None => Outcome::Answered(answer),
                    };
                }
                Err(failed) => failed,
            };
            self.at += 1;
            self.resume = Instant::now() + failed.pause;
            let again = request.idempotency_key.is_some() && self.resume < give_up;
            if failed.perhaps {
                perhaps = Some(failed.code.clone());
            }
            if !again {
                return match perhaps {
                    Some(code) => Outcome::Unknown(code),
                    None => Outcome::Refused(failed.code),
                };
            }
            self.heed_pause().await;
        }
    }

    async fn attempt(&mut self, request: &Request, give_up: Instant) -> Result<Reply, Failed> {
        let until = match request.idempotency_key {
            Some(_) => give_up.min(Instant::now() + TRY),
            None => give_up,
        };
        let tried = tokio::time::timeout_at(until, self.client.attempt(self.at, request)).await;
        let reply = match tried.unwrap_or(Err(Fault::Timeout)) {
            Ok(reply) => reply,
            Err(fault) => {
                let perhaps = fault != Fault::Connect;
                return Err(Failed { code: fault.to_string().into(), perhaps, pause: PAUSE });
            }
        };
        if !matches!(reply.status, 408 | 429 | 503 | 507) {
            return Ok(reply);
        }
        let words = Words::of(&reply);
        // Of all refusals only this one leaves it open whether anything happened.
        let perhaps = !matches!(
            (reply.status, words.error()),
            (408 | 429 | 507, _) | (503, "overloaded" | "shutting_down")
        );
        let pause = reply.retry_after().unwrap_or(PAUSE).min(RETRY_AFTER_MAX);
        Err(Failed { code: words.error().into(), perhaps, pause })
    }
}

/// Whether a server that gave this answer remembers nothing of the question.
fn leaves_nothing(answer: &Answer) -> bool {
    match answer {
        Answer::Nothing | Answer::Gone | Answer::Complete => true,
        Answer::Letters(numbers) => numbers.is_empty(),
        _ => false,
    }
}
