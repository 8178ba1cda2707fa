//! The peer of P4: a bare tonic server that answers each unary call with the bytes it was sent.
//! What a call costs when nothing is done for it.

#[path = "../src/echo.rs"]
#[allow(dead_code)]
mod echo;

use std::{
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
};

use clap::Parser;
use tonic::{
    Request, Response, Status,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

use crate::echo::Echoed;

/// A bare tonic echo: the peer that `onsale-bench compare --peer echo` measures.
#[derive(Parser)]
#[command(name = "onsale-peer-echo", version)]
struct Cli {
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8093")]
    listen: SocketAddr,
}

#[derive(Clone)]
struct Server;

impl NamedService for Server {
    const NAME: &'static str = echo::SERVICE;
}

impl UnaryService<Echoed> for Server {
    type Response = Echoed;
    type Future = std::future::Ready<Result<Response<Echoed>, Status>>;

    fn call(&mut self, request: Request<Echoed>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl Service<http::Request<tonic::body::Body>> for Server {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Echoed, Echoed>::default());
            Ok(grpc.unary(Server, request).await)
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let listener = tokio::net::TcpListener::bind(cli.listen).await?;
    println!("ready http://{}", listener.local_addr()?);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder().add_service(Server).serve_with_incoming(incoming).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_bytes_come_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let serving = tonic::transport::Server::builder().add_service(Server);
        tokio::spawn(serving.serve_with_incoming(incoming));
        let client = echo::Echo::connect(&address).expect("an address");
        for bytes in [&b""[..], b"hold", &[7; 100_000]] {
            let bytes = bytes::Bytes::copy_from_slice(bytes);
            assert!(client.call(bytes).await.expect("answered"));
        }
    }
}
