//! A query that gives way to a remembered answer.

use super::super::State;
use super::super::id::Key;
use super::super::outcome::Answer;
use super::{Query, Question, Remembered, Reply, sealed};

/// The answer remembered under an idempotency key, if there is one, as the error; else what the query asks.
#[derive(Debug, Clone, Copy)]
pub struct UnlessRemembered<Q>(pub Option<Key>, pub Q);

impl<Q> sealed::Sealed for UnlessRemembered<Q> {}

impl<Q: Query> Query for UnlessRemembered<Q> {
    type Answer = Result<Q::Answer, Answer>;

    fn answer(self, state: &State, now_ms: u64) -> Self::Answer {
        match self.0.and_then(|key| state.idempotency_keys.answer(&key, now_ms)) {
            Some(answer) => Err(answer),
            None => Ok(self.1.answer(state, now_ms)),
        }
    }

    fn each_key(&self, visit: &mut dyn FnMut(&Key)) {
        self.0.iter().for_each(&mut *visit);
        self.1.each_key(visit);
    }

    fn ask(&self, questions: &mut Vec<Question>) {
        self.0.iter().for_each(|key| Remembered(*key).ask(questions));
        self.1.ask(questions);
    }

    fn hear(&self, replies: &mut dyn Iterator<Item = Reply>) -> Option<Self::Answer> {
        let remembered = match self.0 {
            Some(key) => Remembered(key).hear(replies)?,
            None => None,
        };
        let answer = self.1.hear(replies)?;
        Some(remembered.map_or(Ok(answer), Err))
    }
}
