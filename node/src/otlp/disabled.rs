//! Traces in a binary that was built without them: nothing.

use std::time::Duration;

use super::{Error, Options, Parent, Request};

/// No traces.
#[derive(Debug, Clone, Default)]
pub struct Traces(());

/// No span.
#[derive(Debug)]
pub struct RequestSpan;

impl Traces {
    /// Refuses to send anything anywhere.
    ///
    /// # Errors
    /// If there is somewhere to send it.
    pub fn new(options: Option<Options>) -> Result<Self, Error> {
        if options.is_some() { Err(Error::NotBuiltIn) } else { Ok(Self(())) }
    }

    /// Does nothing.
    pub fn start(&self) {}

    /// Does nothing.
    pub fn begin(&self, _: Option<Parent>, _: Request<'_>) -> RequestSpan {
        RequestSpan
    }

    /// Does nothing.
    pub async fn flush(&self, _: Duration) {}
}

impl RequestSpan {
    /// Does nothing.
    pub fn end(self, _: u16) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_refused() {
        let url = "https://collector.example/v1/traces".parse().unwrap();
        let options = Options { url, authorities: None, allow_private: false, node: 1 };
        let refused = Traces::new(Some(options)).unwrap_err().to_string();
        assert!(refused.contains("built without the feature otlp"), "{refused}");
        assert!(Traces::new(None).is_ok());
    }
}
