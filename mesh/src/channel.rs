//! Owns how a connection to a peer is opened: lazily, with keep-alive and windows for batches.
//!
//! Must never block on an unreachable peer: connecting is part of the first call's time.

use onsale_proto::Code;
use tonic::transport::{Channel, Endpoint};

use crate::{Failure, limits};

/// A channel to `host:port` that connects with its first call and again whenever it broke.
///
/// # Errors
/// `invalid_request` when the address is not `host:port`.
pub fn connect(address: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        Failure::new(Code::InvalidRequest, format!("{address} is not host:port: {error}"))
    })?;
    Ok(endpoint
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .connect_lazy())
}
