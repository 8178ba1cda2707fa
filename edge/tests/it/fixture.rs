//! A running edge with its backend.

use std::sync::Arc;

use onsale_edge::{Config, Service};
use onsale_mesh::{Node, ShardClient, channel};
use onsale_proto::keyed::Secret;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;

pub struct Fixture {
    pub address: String,
    pub backend: Arc<Backend>,
    pub secret: Secret,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
}

pub fn unlimited() -> Config {
    Config { rate_per_second: None, ..Config::default() }
}

impl Fixture {
    pub async fn start() -> Fixture {
        Fixture::with(unlimited()).await
    }

    pub async fn with(config: Config) -> Fixture {
        let shutdown = CancellationToken::new();
        let backend = Arc::new(Backend::new());
        let grpc = backend.clone().serve(shutdown.clone()).await;
        Fixture::beside(config, backend, &grpc, shutdown).await
    }

    async fn beside(
        config: Config,
        backend: Arc<Backend>,
        grpc: &str,
        shutdown: CancellationToken,
    ) -> Fixture {
        let node = Node { id: 1, grpc: grpc.into() };
        let secret = Secret::new(&[7; 32]).expect("long enough");
        let channel = channel::connect(grpc).expect("an address");
        let service = Service::new(
            config,
            secret.clone(),
            ShardClient::new(vec![node]).expect("a node"),
            1,
            channel.clone(),
            channel,
        )
        .expect("a good configuration");
        let handle = service.handle();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move {
            service.run(listener, stop).await.expect("a clean end");
        });
        handle.ready().await;
        Fixture { address, backend, secret, shutdown, running: Some(running) }
    }

    /// Another edge over the same backend.
    pub async fn another(&self) -> Fixture {
        let grpc = self.backend.address();
        let shutdown = CancellationToken::new();
        Fixture::beside(unlimited(), self.backend.clone(), &grpc, shutdown).await
    }

    /// Stops it and waits for its end.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.await.expect("no panic");
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
