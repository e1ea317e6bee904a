//! Pins under which many want to open a session at once, one of whom does and ends it again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;

use super::caller::Caller;
use super::exchange;
use super::keyspace::{Live, Span};
use super::register::named;
use super::subject::Subject;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome};

/// Pins.
pub(super) struct Pins;

/// The sessions that are known to have been opened under a pin, the last one last.
type Opened = Mutex<Vec<Arc<str>>>;

const FAMILY: Family = Family::Pin;

impl Subject for Pins {
    const SLOTS: usize = 6;
    const SPAN: Span = Span { age: Duration::from_secs(20), asked: 80 };
    const KEPT: Duration = Duration::from_secs(100);
    type Data = Opened;

    async fn make(&self, caller: &mut Caller) -> Option<Live<Opened>> {
        Some(Live::new(named(caller, "pin"), Opened::default()))
    }

    async fn ask(&self, caller: &mut Caller, pin: &Live<Opened>) -> Outcome {
        let last = pin.data.lock().unwrap_or_else(PoisonError::into_inner).last().cloned();
        match (caller.rng.random_range(0..6), last) {
            (0, Some(session)) => exchange::release(caller, FAMILY, &pin.key, session).await,
            (0 | 1, _) => {
                let outcome = exchange::acquire(caller, FAMILY, &pin.key).await;
                if let Outcome::Answered(Answer::Session(session)) = &outcome {
                    pin.data.lock().unwrap_or_else(PoisonError::into_inner).push(session.clone());
                }
                outcome
            }
            _ => self.see(caller, pin).await,
        }
    }

    async fn see(&self, caller: &mut Caller, pin: &Live<Opened>) -> Outcome {
        exchange::resolve(caller, FAMILY, &pin.key).await
    }
}
