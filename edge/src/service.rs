//! Owns putting the edge together: what all handlers share, the feeds it follows, and its life.
//!
//! Must never serve before it is told to, and never outlive its shutdown.

use std::{num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use onsale_mesh::ShardClient;
use onsale_proto::keyed::Secret;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    auth::ApiKeys,
    availability::{
        Availability, Tile,
        feed::{self, SigningKeys, Sinks},
    },
    config::{Config, Network},
    documents::Documents,
    error::Error,
    limits::{self, AddressLimiter},
    metrics::Metrics,
    openapi,
    request::RequestIds,
    routes::Routes,
    server,
};

/// What all handlers share.
pub struct Edge {
    pub(crate) config: Config,
    pub(crate) secret: Secret,
    pub(crate) shards: ShardClient,
    pub(crate) payments: Channel,
    pub(crate) availability: Arc<Availability>,
    pub(crate) documents: Arc<Documents>,
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) signing_keys: Arc<SigningKeys>,
    pub(crate) limiter: Option<AddressLimiter>,
    pub(crate) proxies: Vec<Network>,
    pub(crate) routes: Routes,
    pub(crate) openapi: Tile,
    pub(crate) metrics: Metrics,
    pub(crate) request_ids: RequestIds,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

/// The edge, ready to run.
pub struct Service {
    edge: Arc<Edge>,
    shards: u32,
    ready: watch::Sender<bool>,
}

/// Watches a running edge. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    ready: watch::Receiver<bool>,
}

impl Handle {
    /// Waits until every shard's feed has been taken over once. Never ends if the service ended
    /// before that.
    pub async fn ready(&self) {
        let mut ready = self.ready.clone();
        if ready.wait_for(|ready| *ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether every shard's feed has been taken over once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
}

impl Service {
    /// An edge over these parts. `shards` is the number of selling shards; the control group, shard
    /// 0, is there besides.
    ///
    /// # Errors
    /// When the settings or the embedded documents cannot be used.
    pub fn new(
        config: Config,
        secret: Secret,
        shard_client: ShardClient,
        shards: u32,
        catalog: Channel,
        payments: Channel,
    ) -> Result<Service, Error> {
        let wrong = config.check();
        if !wrong.is_empty() {
            return Err(Error::Config(wrong));
        }
        let routes = Routes::new();
        let openapi = openapi::document(&routes.all).map_err(Error::Routes)?;
        let openapi = Bytes::from(openapi.to_string());
        let etag = secret.request_hash(&openapi);
        let rate = config.rate_per_second.and_then(NonZeroU32::new);
        let request_ids = RequestIds::new()
            .map_err(|error| Error::Listener(std::io::Error::other(error.to_string())))?;
        let edge = Edge {
            limiter: rate.map(AddressLimiter::new),
            proxies: config.proxies(),
            metrics: Metrics::new(&routes.all),
            openapi: Tile {
                etag: HeaderValue::try_from(format!("\"{etag:016x}\""))
                    .unwrap_or(HeaderValue::from_static("\"openapi\"")),
                body: openapi,
            },
            routes,
            request_ids,
            streams: Arc::new(Semaphore::new(config.streams_max as usize)),
            config,
            secret,
            shards: shard_client,
            documents: Arc::new(Documents::new(catalog)),
            payments,
            availability: Arc::default(),
            api_keys: Arc::default(),
            signing_keys: Arc::default(),
            shutdown: CancellationToken::new(),
        };
        Ok(Service { edge: Arc::new(edge), shards, ready: watch::Sender::new(false) })
    }

    /// Watches it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { ready: self.ready.subscribe() }
    }

    /// Follows the feeds and serves until `shutdown`; then takes no new connections, lets accepted
    /// requests finish, and ends streams.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let stop = self.edge.shutdown.clone();
        let _stop_on_drop = stop.clone().drop_guard();
        let feeds = self.follow();
        let forgetting = tokio::spawn(forget_idle(self.edge.clone()));
        let ready = tokio::spawn(become_ready(feeds, self.shards + 1, self.ready));
        let serving = server::serve(self.edge.clone(), listener, stop.clone());
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = shutdown.cancelled() => {
                stop.cancel();
                serving.await
            }
        };
        stop.cancel();
        forgetting.abort();
        ready.abort();
        served
    }

    fn follow(&self) -> mpsc::Receiver<u32> {
        let count = self.shards + 1;
        let (started, starts) = mpsc::channel(count as usize * 2);
        for shard in 0..count {
            let sinks = Sinks {
                availability: self.edge.availability.clone(),
                documents: self.edge.documents.clone(),
                api_keys: self.edge.api_keys.clone(),
                signing_keys: self.edge.signing_keys.clone(),
            };
            let follower = self.edge.shards.follow(shard);
            let stop = self.edge.shutdown.clone();
            tokio::spawn(feed::follow(follower, sinks, started.clone(), stop));
        }
        starts
    }
}

async fn become_ready(mut starts: mpsc::Receiver<u32>, count: u32, ready: watch::Sender<bool>) {
    let mut started = std::collections::HashSet::new();
    while let Some(shard) = starts.recv().await {
        started.insert(shard);
        if started.len() >= count as usize {
            ready.send_replace(true);
        }
    }
}

async fn forget_idle(edge: Arc<Edge>) {
    let Some(limiter) = &edge.limiter else {
        return;
    };
    let mut tick = tokio::time::interval(limits::ADDRESSES_SWEEP / 10);
    let mut ticks = 0_u32;
    loop {
        tick.tick().await;
        ticks += 1;
        if ticks.is_multiple_of(10) || limiter.addresses() > limits::ADDRESSES_MAX {
            #[allow(clippy::cast_precision_loss)] // a gauge is a float
            edge.metrics.addresses.set(limiter.forget_idle() as f64);
        }
    }
}
