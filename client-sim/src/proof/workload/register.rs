//! Sessions: offers and answers are written over one another and read, and some sessions are ended meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use super::caller::Caller;
use super::exchange;
use super::keyspace::{Live, Span};
use super::subject::Subject;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Side};

/// Sessions that many write and read.
pub(super) struct Registers;

const FAMILY: Family = Family::Register;
const SIDES: [Side; 2] = [Side::Offer, Side::Answer];

impl Subject for Registers {
    const SLOTS: usize = 8;
    const SPAN: Span = Span { age: Duration::from_secs(20), asked: 120 };
    const KEPT: Duration = Duration::from_secs(100);
    type Data = ();

    async fn make(&self, caller: &mut Caller) -> Option<Live<()>> {
        exchange::create(caller, FAMILY).await.map(|session| Live::new(session, ()))
    }

    async fn ask(&self, caller: &mut Caller, session: &Live<()>) -> Outcome {
        let side = SIDES[caller.rng.random_range(0..2)];
        match caller.rng.random_range(0..5) {
            0 | 1 => exchange::put(caller, FAMILY, &session.key, side).await,
            _ => exchange::get(caller, FAMILY, &session.key, side).await,
        }
    }

    async fn see(&self, caller: &mut Caller, session: &Live<()>) -> Outcome {
        exchange::get(caller, FAMILY, &session.key, Side::Offer).await
    }

    /// Ends one of two.
    async fn leave(&self, caller: &mut Caller, session: &Live<()>) -> bool {
        let ends = caller.rng.random();
        if ends {
            exchange::delete(caller, FAMILY, &session.key).await;
            self.see(caller, session).await;
        }
        !ends
    }

    async fn look(&self, caller: &mut Caller, session: &Live<()>, answers: &[Answer]) -> Option<Outcome> {
        let side = SIDES.get(answers.len())?;
        Some(exchange::get(caller, FAMILY, &session.key, *side).await)
    }
}

/// The key of a thing that clients name themselves.
pub(super) fn named(caller: &Caller, kind: &str) -> Arc<str> {
    format!("{kind}-{:x}-{}", caller.run(), caller.fresh()).into()
}
