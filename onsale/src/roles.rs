//! Owns how a role is made from the settings, started and watched; `run` and `demo` both use it.
//!
//! Must never know more of a role than its `Config`, `Service` and `Handle`.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use onsale_allocator as allocator;
use onsale_catalog as catalog;
use onsale_edge as edge;
use onsale_mesh::{
    Deadline, ShardClient, channel,
    ops::Readiness,
    server::{self, HealthReporter, ServingStatus},
};
use onsale_payments as payments;
use onsale_proto::{
    Code, allocator as pb,
    allocator::{
        allocator_service_server::AllocatorServiceServer,
        cluster_service_server::ClusterServiceServer,
    },
    catalog::catalog_service_server::CatalogServiceServer,
    keyed,
    keyed::Secret,
    payments::payments_service_server::PaymentsServiceServer,
};
use tokio::net::TcpListener;
use tonic::{server::NamedService, service::Routes};

use crate::{
    assembly::{Assembly, Tier},
    config::{Keys, Settings},
    exit::{Exit, Failed},
};

/// How long one attempt to install the API keys takes; it is repeated until it is done.
const KEYS_WITHIN: Duration = Duration::from_secs(10);

/// Starts roles with these settings into this assembly.
pub struct Roles<'a> {
    /// Where they run.
    pub assembly: &'a mut Assembly,
    /// How they reach the shards.
    pub client: ShardClient,
    /// With which settings.
    pub settings: &'a Settings,
    /// Where they say that they can serve.
    pub readiness: &'a Readiness,
    /// Where each service's health is told.
    pub health: HealthReporter,
    /// The cluster's secret.
    pub secret: Secret,
}

impl Roles<'_> {
    /// Opens the replicas of this node and runs them; the routes are with health and reflection.
    pub async fn allocator(&mut self) -> Result<Routes, Failed> {
        let settings = self.settings;
        let config = allocator::Config {
            node: settings.node,
            cluster: settings.cluster.clone(),
            nodes: settings.nodes.clone(),
            join: settings.join,
            shards: settings.shards,
            data_dir: settings.data_dir.clone(),
            log_segment_bytes: settings.log_segment_bytes,
            snapshot_entries: settings.snapshot_entries,
            ..allocator::Config::default()
        };
        let opening = allocator::Service::open(config, self.secret.clone());
        let service = opening.await.map_err(allocator_failed)?;
        // Leads are handed over while buyers' requests are finished, not after.
        let service = service
            .reporting_to(self.health.clone())
            .leaving_at(self.assembly.stop_of(Tier::Front));
        let standard = server::health_and_reflection(self.health.clone())?;
        let (routes, handle) = (server::merge(standard, service.routes()), service.handle());
        let ready = self.readiness.part("allocator");
        tokio::spawn(async move {
            handle.ready().await;
            ready.set(true);
        });
        let stop = self.assembly.stop_of(Tier::State);
        let run = async move { service.run(stop).await.map_err(allocator_failed) };
        self.assembly.spawn(Tier::State, run);
        Ok(routes)
    }

    /// The allocator's public services for a process without replicas, with health and reflection.
    pub fn front(&mut self) -> Result<Routes, Failed> {
        let front = allocator::front::Front::new(self.client.clone(), self.secret.clone());
        let standard = server::health_and_reflection(self.health.clone())?;
        let services = [
            <AllocatorServiceServer<()> as NamedService>::NAME,
            <ClusterServiceServer<()> as NamedService>::NAME,
        ];
        let health = self.health.clone();
        tokio::spawn(async move {
            for name in services {
                health.set_service_status(name, ServingStatus::Serving).await;
            }
        });
        Ok(server::merge(standard, front.routes()))
    }

    /// Starts the catalog.
    pub fn catalog(&mut self) -> Result<Routes, Failed> {
        let data_dir = self.settings.data_dir.join("catalog");
        let config = catalog::Config { data_dir, ..catalog::Config::default() };
        let service = catalog::Service::open(config, self.client.clone())
            .map_err(|error| part_failed("catalog", &error))?;
        let (routes, handle) = (service.routes(), service.handle());
        let (ready, health) = (self.readiness.part("catalog"), self.health.clone());
        tokio::spawn(async move {
            handle.ready().await;
            ready.set(true);
            let name = <CatalogServiceServer<()> as NamedService>::NAME;
            health.set_service_status(name, ServingStatus::Serving).await;
        });
        let stop = self.assembly.stop_of(Tier::Middle);
        let run = async move { service.run(stop).await.map_err(|e| part_failed("catalog", &e)) };
        self.assembly.spawn(Tier::Middle, run);
        Ok(routes)
    }

    /// Starts the payment workers.
    pub fn payments(&mut self) -> Result<Routes, Failed> {
        let settings = self.settings;
        let config = payments::Config {
            gateway_url: settings.gateway_url.clone(),
            gateway_key: settings.gateway_key.clone(),
            webhook_secret: settings.webhook_secret.clone(),
            gateway_rate_max: settings.gateway_rate_max,
            signing_key_file: Some(settings.signing_key_file.clone()),
            return_url: format!("{}/orders/{{order_id}}", settings.public_url),
            data_dir: settings.data_dir.join("payments"),
            ..payments::Config::default()
        };
        let service = payments::Service::open(config, self.client.clone(), settings.shards)
            .map_err(|error| part_failed("payments", &error))?;
        let (routes, handle) = (service.routes(), service.handle());
        let (ready, health) = (self.readiness.part("payments"), self.health.clone());
        tokio::spawn(async move {
            handle.ready().await;
            ready.set(true);
            let name = <PaymentsServiceServer<()> as NamedService>::NAME;
            health.set_service_status(name, ServingStatus::Serving).await;
        });
        let stop = self.assembly.stop_of(Tier::Middle);
        let run = async move { service.run(stop).await.map_err(|e| part_failed("payments", &e)) };
        self.assembly.spawn(Tier::Middle, run);
        Ok(routes)
    }

    /// Starts the public HTTP.
    pub fn edge(&mut self, listener: TcpListener) -> Result<(), Failed> {
        let settings = self.settings;
        let local = settings.grpc_listen.to_string();
        let catalog = channel::connect(settings.catalog.as_ref().unwrap_or(&local))?;
        let payments = channel::connect(settings.payments.as_ref().unwrap_or(&local))?;
        let config = edge::Config {
            rate_per_second: settings.rate_per_second,
            connections_max: settings.connections_max,
            connections_per_address_max: settings.connections_per_address_max,
            trusted_proxies: settings.trusted_proxies.clone(),
            secure_cookies: settings.public_url.starts_with("https://"),
            ..edge::Config::default()
        };
        let (client, shards) = (self.client.clone(), settings.shards);
        let secret = self.secret.clone();
        let service = edge::Service::new(config, secret, client, shards, catalog, payments)
            .map_err(|error| part_failed("edge", &error))?;
        let (handle, ready) = (service.handle(), self.readiness.part("edge"));
        tokio::spawn(async move {
            handle.ready().await;
            ready.set(true);
        });
        let stop = self.assembly.stop_of(Tier::Front);
        let run =
            async move { service.run(listener, stop).await.map_err(|e| part_failed("edge", &e)) };
        self.assembly.spawn(Tier::Front, run);
        Ok(())
    }
}

/// Serves gRPC as one part of the process.
pub fn serve_grpc(assembly: &mut Assembly, tier: Tier, listener: TcpListener, routes: Routes) {
    let stop = assembly.stop_of(tier);
    assembly.spawn(tier, async move {
        server::serve_grpc(listener, routes, stop).await.map_err(Failed::from)
    });
}

/// What keeps a node from being part of the cluster is a conflict, wrong settings are usage.
fn allocator_failed(error: allocator::Error) -> Failed {
    let exit = match error {
        allocator::Error::Config(_) => Exit::Usage,
        _ => Exit::Conflict,
    };
    Failed { exit, reason: format!("refuses to start: {error}") }
}

fn part_failed(part: &str, error: &dyn std::fmt::Display) -> Failed {
    Failed::new(format!("{part}: {error}"))
}

/// Binds an address or says which setting to change.
pub async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).await.map_err(|error| {
        Failed::new(format!("{setting} {address}: {error}; choose another address with {setting}"))
    })
}

/// Reads the cluster's secret.
pub fn read_secret(file: &Path) -> Result<Secret, Failed> {
    let hint = "make one with: head -c 32 /dev/urandom > FILE, the same on all nodes";
    let bytes = std::fs::read(file).map_err(|error| {
        Failed::usage(format!("cluster.secret_file {}: {error}; {hint}", file.display()))
    })?;
    Secret::new(&bytes)
        .map_err(|error| Failed::usage(format!("cluster.secret_file: {error}; {hint}")))
}

/// Stores the hashes of the API keys in the control group, however long that takes.
pub async fn install_keys(client: ShardClient, keys: Keys) {
    for (role, key) in keys.0 {
        let key_hash = Bytes::copy_from_slice(&keyed::api_key_hash(&key));
        let api_key = pb::ApiKey { key_hash, role: role.to_owned(), owner: role.to_owned() };
        loop {
            let request = pb::PutApiKeyRequest { key: Some(api_key.clone()) };
            match client.put_api_key(request, Deadline::after(KEYS_WITHIN)).await {
                Ok(_) => break,
                Err(failure) if failure.code.retryable() => {
                    tracing::info!(role, %failure, "the API key is not installed yet");
                }
                Err(failure) if failure.code == Code::Conflict => break,
                Err(failure) => {
                    tracing::error!(role, %failure, "the API key cannot be installed");
                    break;
                }
            }
        }
    }
}
