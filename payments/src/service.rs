//! Owns the role's start and end: key registered, one worker for each shard, routes.
//!
//! Must never lease a job before the key that signs its tickets is known to the control group.

use std::sync::Arc;

use onsale_mesh::{Deadline, ShardClient, limits::REQUEST_BUDGET};
use onsale_proto::{
    allocator::{PutSigningKeyRequest, SigningKey},
    payments::payments_service_server::PaymentsServiceServer,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    Config, Error,
    gateway::Stripe,
    limits::{REGISTER_PAUSE, WEBHOOK_BYTES_MAX, WEBHOOK_SIGNATURE_BYTES_MAX},
    rpc::Payments,
    ticket::Signer,
    webhook::Webhooks,
    worker::Worker,
};

/// The payments role, opened.
pub struct Service {
    config: Config,
    shards: ShardClient,
    shards_count: u32,
    gateway: Stripe,
    signer: Arc<Signer>,
    webhooks: Arc<Webhooks>,
    ready: watch::Sender<bool>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What others may ask of a running role. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    ready: watch::Receiver<bool>,
}

impl Handle {
    /// Waits until jobs are being worked on; false when the role has ended before.
    pub async fn ready(&self) -> bool {
        self.ready.clone().wait_for(|ready| *ready).await.is_ok()
    }
}

impl Service {
    /// Opens the role: checks the settings, reads or makes the signing key. The selling shards are
    /// 1 to `shards`.
    ///
    /// # Errors
    /// Everything wrong with the settings, or what is wrong with the key file.
    pub fn open(config: Config, client: ShardClient, shards: u32) -> Result<Service, Error> {
        let wrong = config.check();
        if !wrong.is_empty() {
            return Err(Error::Config(wrong));
        }
        let gateway = Stripe::new(
            &config.gateway_url,
            &config.gateway_key,
            &config.return_url,
            config.gateway_rate_max,
        )?;
        let signer = Arc::new(Signer::open(&config.key_file())?);
        let webhooks = Arc::new(Webhooks::new(
            gateway.clone(),
            client.clone(),
            shards,
            config.webhook_secret.clone(),
        ));
        Ok(Service {
            config,
            shards: client,
            shards_count: shards,
            gateway,
            signer,
            webhooks,
            ready: watch::Sender::new(false),
        })
    }

    /// `PaymentsService`. Health and reflection are the server's (`onsale_mesh::server`).
    #[must_use]
    pub fn routes(&self) -> Routes {
        let payments = Payments { webhooks: Arc::clone(&self.webhooks) };
        let payments = PaymentsServiceServer::new(payments)
            .max_decoding_message_size(WEBHOOK_BYTES_MAX + WEBHOOK_SIGNATURE_BYTES_MAX + 1024);
        Routes::new(payments)
    }

    /// What others may ask.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { ready: self.ready.subscribe() }
    }

    /// Works until `shutdown`, then finishes the jobs in hand.
    ///
    /// # Errors
    /// None so far: whatever happens to one job is tried again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            () = self.register() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let mut workers = JoinSet::new();
        for shard in 1..=self.shards_count {
            let worker = Arc::new(Worker {
                shard,
                shards: self.shards.clone(),
                gateway: self.gateway.clone(),
                signer: Arc::clone(&self.signer),
                jobs_max: self.config.jobs_max(self.shards_count),
            });
            workers.spawn(worker.run(shutdown.clone()));
        }
        self.ready.send_replace(true);
        while workers.join_next().await.is_some() {}
        Ok(())
    }

    /// Tells the control group the key until it answers.
    async fn register(&self) {
        let request = PutSigningKeyRequest {
            key: Some(SigningKey {
                key_id: self.signer.key_id(),
                public_key: bytes::Bytes::copy_from_slice(&self.signer.public_key()),
            }),
        };
        loop {
            let deadline = Deadline::after(REQUEST_BUDGET);
            match self.shards.put_signing_key(request.clone(), deadline).await {
                Ok(_) => return,
                Err(failure) if failure.code.retryable() => {
                    tracing::debug!(%failure, "the signing key is not registered yet");
                }
                Err(failure) => {
                    tracing::error!(%failure, "the signing key was refused, no ticket is signed");
                }
            }
            tokio::time::sleep(REGISTER_PAUSE).await;
        }
    }
}
