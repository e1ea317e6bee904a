//! A word that ends a run early, such as Ctrl-C.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones share the word.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Says it. Saying it again changes nothing.
    pub fn say(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    pub fn is_said(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
    pub async fn said(&self) {
        let mut word = self.0.subscribe();
        word.wait_for(|said| *said).await.expect("the sender is held by self");
    }
}
