//! Owns how a gRPC server is run: bounded streams, no delay, a drain that ends.
//!
//! Must never serve public HTTP: that is the edge's part, with deadlines of its own.

use onsale_proto::{Code, FILE_DESCRIPTORS};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
pub use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};

use crate::{Failure, limits};

/// Serves until `shutdown`, then lets calls under way finish for at most [`limits::DRAIN_MAX`].
///
/// # Errors
/// `unavailable` when the listener fails.
pub async fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        // Calls that are given up are no attack: a node that was slow for a moment would lose all
        // its connections.
        .http2_max_pending_accept_reset_streams(Some(limits::STREAMS_PER_CONNECTION_MAX as usize))
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    tokio::select! {
        served = serving => served
            .map_err(|error| Failure::new(Code::Unavailable, format!("gRPC server: {error}"))),
        () = drained(&shutdown) => Ok(()),
    }
}

/// What every gRPC server has besides its own services: health, as the reporter says it, and
/// reflection v1.
///
/// # Errors
/// `internal` when our own descriptors cannot be read.
pub fn health_and_reflection(health: HealthReporter) -> Result<Routes, Failure> {
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Failure::new(Code::Internal, format!("gRPC reflection: {error}")))?;
    Ok(Routes::new(health).add_service(reflection))
}

/// Both parts' services on one server. No service may stand in both.
#[must_use]
pub fn merge(one: Routes, other: Routes) -> Routes {
    // Each has the same answer for unknown methods; a router takes only one.
    let other = other.into_axum_router().reset_fallback();
    Routes::from(one.into_axum_router().merge(other))
}

async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(limits::DRAIN_MAX).await;
}
