//! Owns the sandbox's webhooks: every event is signed and sent until it is answered 2xx, a bounded
//! number of times.
//!
//! Must never hold up an answer: when too many wait, new ones are dropped and counted. Nothing may
//! depend on a webhook, neither here nor at the real gateway.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::objects::Event;
use crate::{
    Error,
    limits::{
        SANDBOX_WEBHOOK_ATTEMPTS_MAX, SANDBOX_WEBHOOK_PAUSE_FIRST, SANDBOX_WEBHOOK_QUEUE_MAX,
        SANDBOX_WEBHOOK_TIMEOUT, SANDBOX_WEBHOOKS_IN_FLIGHT_MAX,
    },
    webhook,
};

/// Where events go to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Webhooks {
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    url: String,
    secret: String,
    base_url: String,
}

impl Webhooks {
    /// Starts sending to `url` until `shutdown`.
    pub(crate) fn start(
        url: String,
        secret: String,
        base_url: String,
        shutdown: CancellationToken,
    ) -> Result<Webhooks, Error> {
        let client = crate::gateway::http_client(&url, SANDBOX_WEBHOOK_TIMEOUT)?;
        let sender = Arc::new(Sender { client, url, secret, base_url });
        let (queue, events) = mpsc::channel(SANDBOX_WEBHOOK_QUEUE_MAX);
        tokio::spawn(async move {
            tokio::select! {
                () = send_all(sender, events) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Webhooks { queue, dropped: Arc::default() })
    }

    /// Queues events.
    pub(crate) fn send(&self, events: Vec<Event>) {
        for event in events {
            if self.queue.try_send(event).is_err() {
                let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(dropped, "too many webhooks wait, one was dropped");
            }
        }
    }
}

async fn send_all(sender: Arc<Sender>, mut events: mpsc::Receiver<Event>) {
    let permits = Arc::new(Semaphore::new(SANDBOX_WEBHOOKS_IN_FLIGHT_MAX));
    let mut sending = tokio::task::JoinSet::new();
    while let Some(event) = events.recv().await {
        while sending.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let sender = Arc::clone(&sender);
        sending.spawn(async move {
            sender.deliver(&event).await;
            drop(permit);
        });
    }
    while sending.join_next().await.is_some() {}
}

impl Sender {
    async fn deliver(&self, event: &Event) {
        let body = event.to_json(&self.base_url).to_string();
        let mut pause = SANDBOX_WEBHOOK_PAUSE_FIRST;
        for attempt in 1..=SANDBOX_WEBHOOK_ATTEMPTS_MAX {
            let now_s = onsale_proto::time::now_ms() / 1000;
            let signature = webhook::sign(&self.secret, body.as_bytes(), now_s);
            let sending = self
                .client
                .post(&self.url)
                .header("Content-Type", "application/json")
                .header("Stripe-Signature", signature)
                .body(body.clone())
                .send();
            match sending.await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => {
                    tracing::debug!(attempt, status = answer.status().as_u16(), "webhook refused");
                }
                Err(error) => {
                    tracing::debug!(attempt, timeout = error.is_timeout(), "webhook not sent");
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(60));
        }
    }
}
