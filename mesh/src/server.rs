//! Owns how a gRPC server is run: bounded streams, no delay, a drain that ends.
//!
//! Must never serve public HTTP: that is the edge's part, with deadlines of its own.

use onsale_proto::Code;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

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

async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(limits::DRAIN_MAX).await;
}
