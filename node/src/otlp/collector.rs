//! The exporter's HTTP client: the one that key sets are fetched with, and a time-out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

use super::{Error, Options};
use crate::access::outbound::{Client, HttpUrl, Settings};

/// For a whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer's body.
const BODY_BYTES_MAX: usize = 64 << 10;
const SETTINGS: Settings =
    Settings { authorities: "telemetry.otlp_ca", allow_private: "telemetry.otlp_allow_private" };

/// The collector.
#[derive(Debug)]
pub(super) struct Collector {
    client: Client,
    url: HttpUrl,
    failure: Failure,
}

/// Why the last request failed, which the exporter does not report.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<String>>);

impl Failure {
    /// The reason.
    pub(super) fn said(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl Collector {
    pub(super) fn new(options: &Options, failure: Failure) -> Result<Self, Error> {
        let client = Client::new(SETTINGS, options.authorities.clone(), options.allow_private)?;
        Ok(Self { client, url: options.url.clone(), failure })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.client.send(&self.url, request.map(Full::new), TIMEOUT).await?;
        let status = answer.response.status();
        if !status.is_success() {
            self.failure.note(format!("it answered {}", status.as_u16()));
        }
        let body = Limited::new(answer.response.body_mut(), BODY_BYTES_MAX).collect().await?;
        Ok(Response::builder().status(status).body(body.to_bytes())?)
    }
}

impl HttpClient for Collector {
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
        Self: 'sent,
    {
        Box::pin(async move {
            let late = || format!("it did not answer within {} s", TIMEOUT.as_secs()).into();
            let answer = tokio::time::timeout(TIMEOUT, self.send(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(late()));
            answer.inspect_err(|error| self.failure.note(error.to_string()))
        })
    }
}
