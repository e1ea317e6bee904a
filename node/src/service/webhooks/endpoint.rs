//! One endpoint that events are posted to: one message after the other, each until it is accepted, refused or too old.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Request, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::backoff;
use super::event::{Message, seconds};
use super::metrics::{self, Loss};
use super::queue::Queue;
use super::signature::Secrets;
use crate::access::outbound::{self, Client, HttpUrl};

/// Lost events are logged at most once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// One endpoint, and the events that wait for it.
pub(super) struct Endpoint {
    pub(super) url: HttpUrl,
    pub(super) queue: Queue,
    pub(super) client: Client,
    pub(super) secrets: Arc<ArcSwap<Secrets>>,
    /// For one request.
    pub(super) timeout: Duration,
    /// For a message, from its first attempt on; the last one begins when it is over.
    pub(super) retry_for: Duration,
}

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The endpoint accepted it.
    Done,
    /// The endpoint refused it for good.
    Refused,
    /// It may be accepted later; `Retry-After`, if there was one.
    Again(Option<Duration>),
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Unanswered(#[from] outbound::Error),
    #[error("it answered {0}, and redirects are not followed")]
    Redirect(u16),
    #[error("it answered {0}")]
    Status(u16),
    #[error("it did not answer within {0:?}")]
    Late(Duration),
    #[error("the request could not be written")]
    Unwritten,
}

/// What was last logged of an endpoint, so that it is logged once.
#[derive(Default)]
struct Said {
    failing: bool,
    lost: Option<Instant>,
}

impl Endpoint {
    /// Delivers events until the queue is closed and empty. `closing` becomes true when the node shuts down.
    pub(super) async fn run(self: Arc<Self>, mut closing: watch::Receiver<bool>) {
        let mut said = Said::default();
        while let Some(events) = self.queue.batch().await {
            let message = Message::new(events);
            let mut on_its_way = OnItsWay { count: message.events.len(), settled: false };
            let delivered = self.deliver(&message, &mut closing, &mut said).await;
            on_its_way.settled = true;
            match delivered {
                Ok(()) => metrics::delivered(&message.events),
                Err(loss) => {
                    let count = message.events.len();
                    metrics::lost(loss, count);
                    if said.lost.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                        said.lost = Some(Instant::now());
                        let (endpoint, reason) = (self.url.origin(), loss.label());
                        tracing::warn!(endpoint, count, reason, "events were lost on their way to a webhook");
                    }
                }
            }
        }
    }

    async fn deliver(
        &self,
        message: &Message,
        closing: &mut watch::Receiver<bool>,
        said: &mut Said,
    ) -> Result<(), Loss> {
        let end = Instant::now() + self.retry_for;
        let mut failures = 0;
        loop {
            let (verdict, failure) = match self.attempt(message).await {
                Ok(answered) => answered,
                Err(failure) => (Verdict::Again(None), Some(failure)),
            };
            self.tell(failure.as_ref(), said);
            let asked = match verdict {
                Verdict::Done => {
                    metrics::attempted("done");
                    return Ok(());
                }
                Verdict::Refused => {
                    metrics::attempted("refused");
                    return Err(Loss::Refused);
                }
                Verdict::Again(asked) => asked,
            };
            metrics::attempted("failed");
            failures += 1;
            let left = end.saturating_duration_since(Instant::now());
            let pause = backoff::within(left, backoff::pause(failures, asked, rand::random()));
            rest(pause.ok_or(Loss::Expired)?, closing).await;
        }
    }

    async fn attempt(&self, message: &Message) -> Result<(Verdict, Option<Failure>), Failure> {
        let timestamp = seconds();
        let signature = self.secrets.load().sign(&message.id, timestamp, &message.body);
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(message.body.clone()))
            .map_err(|_| Failure::Unwritten)?;
        let answer = timeout(self.timeout, self.client.send(&self.url, request, self.timeout)).await;
        let answer = answer.map_err(|_| Failure::Late(self.timeout))??;
        let status = answer.response.status();
        let verdict = judge(status, answer.response.headers());
        let failure = match verdict {
            Verdict::Done => None,
            _ if status.is_redirection() => Some(Failure::Redirect(status.as_u16())),
            Verdict::Refused | Verdict::Again(_) => Some(Failure::Status(status.as_u16())),
        };
        Ok((verdict, failure))
    }

    fn tell(&self, failure: Option<&Failure>, said: &mut Said) {
        let endpoint = self.url.origin();
        match failure {
            Some(why) if !said.failing => {
                tracing::warn!(endpoint, %why, "a webhook does not take its events");
            }
            None if said.failing => tracing::info!(endpoint, "a webhook takes its events again"),
            Some(_) | None => {}
        }
        said.failing = failure.is_some();
    }
}

/// Events that count as waiting until they are delivered or lost, or until the delivery is aborted.
struct OnItsWay {
    count: usize,
    settled: bool,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        metrics::gone(self.count);
        if !self.settled {
            metrics::lost(Loss::Shutdown, self.count);
        }
    }
}

/// Pauses, but only briefly while the node shuts down.
async fn rest(pause: Duration, closing: &mut watch::Receiver<bool>) {
    let was_closing = *closing.borrow();
    if was_closing {
        return sleep(pause.min(backoff::pause(1, None, 1.0))).await;
    }
    tokio::select! {
        () = sleep(pause) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

/// What a status means: any 2xx is success; 408, 429 and 5xx are worth another try; everything else is final.
fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    let may_pass = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match may_pass {
        _ if status.is_success() => Verdict::Done,
        true => Verdict::Again(retry_after(headers)),
        false => Verdict::Refused,
    }
}

/// In seconds; a date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_status_says_whether_it_is_worth_another_try() {
        let of = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        for status in [200, 202, 204, 299] {
            assert_eq!(of(status), Verdict::Done, "{status}");
        }
        for status in [301, 307, 400, 401, 404, 410, 413] {
            assert_eq!(of(status), Verdict::Refused, "{status}");
        }
        for status in [408, 429, 500, 502, 503, 599] {
            assert_eq!(of(status), Verdict::Again(None), "{status}");
        }
    }

    #[test]
    fn a_receiver_says_when_it_may_be_asked_again() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            judge(StatusCode::SERVICE_UNAVAILABLE, &headers)
        };
        assert_eq!(of("7"), Verdict::Again(Some(Duration::from_secs(7))));
        for other in ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(of(other), Verdict::Again(None), "{other}");
        }
    }

    /// An endpoint that answers so, connection by connection, and how often it was asked.
    async fn delivered(answers: &[&'static str], retry_for: Duration) -> (Result<(), Loss>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let settings = outbound::Settings { authorities: "x.ca", allow_private: "x.allow_private" };
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let endpoint = Endpoint {
            url,
            queue: Queue::new(1),
            client: Client::new(settings, None, true).unwrap(),
            secrets: Arc::new(ArcSwap::from_pointee(Secrets::read(secret.path()).unwrap())),
            timeout: Duration::from_secs(5),
            retry_for,
        };
        let mut asked = 0;
        let answer = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked += 1;
                let mut request = Vec::new();
                while !request.ends_with(b"]}") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let (_closing, mut closing) = watch::channel(false);
        let (message, mut said) = (Message::new(Vec::new()), Said::default());
        let outcome = tokio::select! {
            outcome = endpoint.deliver(&message, &mut closing, &mut said) => outcome,
            () = answer => unreachable!("it pends"),
        };
        (outcome, asked)
    }

    #[tokio::test]
    async fn a_pause_beyond_the_time_is_cut_for_one_last_attempt() {
        let busy = "503 Service Unavailable\r\nRetry-After: 300";
        let retry_for = Duration::from_millis(200);
        assert_eq!(delivered(&[busy, "204 No Content"], retry_for).await, (Ok(()), 2));
        assert_eq!(delivered(&[busy, busy], retry_for).await, (Err(Loss::Expired), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_rests_for_long_while_the_node_goes_away() {
        let (sender, mut closing) = watch::channel(false);
        let began = Instant::now();
        let close = async {
            sleep(Duration::from_secs(1)).await;
            sender.send_replace(true);
        };
        tokio::join!(rest(Duration::from_secs(60), &mut closing), close);
        assert_eq!(began.elapsed().as_secs(), 1);
        rest(Duration::from_secs(60), &mut closing).await;
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
