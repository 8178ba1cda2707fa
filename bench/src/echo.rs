//! Owns the bare echo of P4: one unary call that answers with the bytes it was sent, and nothing
//! else. Used by the driver and by the program that serves it. Nothing here is ours.

use bytes::Bytes;
use prost::Message;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// The service's name.
pub const SERVICE: &str = "bench.Echo";
/// Its only method.
pub const METHOD: &str = "/bench.Echo/Echo";

/// What is sent, and comes back.
#[derive(Clone, PartialEq, Message)]
pub struct Echoed {
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

/// A client of it.
#[derive(Clone)]
pub struct Echo(Channel);

impl Echo {
    /// At `host:port`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn connect(address: &str) -> Result<Echo, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Echo(endpoint.tcp_nodelay(true).connect_lazy()))
    }

    /// Sends bytes; whether the same came back.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&self, bytes: Bytes) -> Result<bool, tonic::Status> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let request = Request::new(Echoed { bytes: bytes.clone() });
        let path = PathAndQuery::from_static(METHOD);
        let answer = grpc.unary(request, path, ProstCodec::<Echoed, Echoed>::default()).await?;
        Ok(answer.into_inner().bytes == bytes)
    }
}
